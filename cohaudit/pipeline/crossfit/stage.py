"""The cross-fit: K copies of the network, each trained on the other folds, predict the fold not seen.

A label that the network has memorized cannot speak for itself here: the copy that predicts a sample was
trained without it. The predictions are those of K-fold cross-validation (Stone, JRSS B 36, 1974), as used to
find wrong labels by Brodley & Friedl (JAIR 11, 1999) and in confident learning (Northcutt, Jiang & Chuang,
JAIR 70, 2021).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.analysis.quantiles import Z_90
from cohaudit.analysis.sanity import is_skilled
from cohaudit.analysis.shares import wilson_interval
from cohaudit.errors import DataError, EngineError, ModelError
from cohaudit.gradients import (
    CheckpointStore,
    DamagedError,
    ForwardResult,
    Source,
    answers,
    check_model,
)
from cohaudit.loading.model import eval_mode
from cohaudit.pipeline.cache_key import cache_key
from cohaudit.pipeline.crossfit.fold_answers import FoldAnswers
from cohaudit.pipeline.crossfit.plan import CrossfitPlan
from cohaudit.pipeline.crossfit.seeded import seed_of, seeded
from cohaudit.pipeline.crossfit.training_data import TrainingData, held_out_source
from cohaudit.pipeline.crossfit.untrained import refuse_shared
from cohaudit.pipeline.progress import CROSSFIT
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Crossfit, Skipped

NO_CROSSFIT = Skipped("cross-fit", "not asked for: --crossfit 5")
"""Stands where no cross-fit was asked for."""
AT_CHANCE = Skipped("cross-fit", "the model is no better than chance, so no copies of it were trained")
"""Stands where training would be for nothing: a model at chance gets no verdict."""


@dataclass(frozen=True)
class OutOfFold:
    """What a cross-fit gave.

    Attributes:
        result: Summary, or why there is none.
        probability: Class probabilities by the copy that was not trained on the sample, float32 [N, C]; None
            if no copies were trained.
        notices: What a reader must know, in sentences.
    """

    result: Crossfit | Skipped = NO_CROSSFIT
    probability: NDArray[np.float32] | None = None
    notices: tuple[str, ...] = ()


def cross_fit(
    plan: CrossfitPlan | None, subject: ScanSubject, sample: Sample, forward: ForwardResult, run: ScanRun
) -> OutOfFold:
    """Train the copies, and let each predict its fold.

    Args:
        plan: What to do; None does nothing.
        subject: Model and data; the model is left as it is.
        sample: The samples to predict.
        forward: What the trained model tells of them.
        run: The scan's instructions.

    Raises:
        CohauditError: If a copy cannot be trained, or its predictions are not finite; says in which fold.
    """
    source = sample.source
    if plan is None:
        return OutOfFold()
    if not is_skilled(forward.predicted, source.labels, len(source.class_names)):
        return OutOfFold(AT_CHANCE)
    key = cache_key(run.config, subject, source.labels, subject.provenance.sha256)
    key |= {"crossfit": str(plan.count), "recipe of the cross-fit": plan.trainer.words}
    store = run.resumable.lasting("crossfit", "samples were predicted out of fold").store(key)
    training = FoldTraining(plan, source, subject.model, subject.device, run.config.batch_size)
    about = "" if plan.seconds is None else plan.forecast
    with run.stages(CROSSFIT, sum(plan.work), about) as advance:
        done = predict_folds(training, store, advance)
    given = done.probability.argmax(1) == source.labels
    result = Crossfit(
        folds=plan.count,
        recipe=plan.trainer.words,
        epochs=tuple(done.epochs) if all(done.epochs) else (),
        accuracy=wilson_interval(float(given.mean()), len(given), Z_90),
        unseen=plan.unseen,
    )
    return OutOfFold(result, done.probability, plan.notices)


def skipped_crossfit(out_of_fold: OutOfFold) -> tuple[Skipped, ...]:
    """Return why a cross-fit that was asked for was not done; empty if it was, or none was asked for.

    Args:
        out_of_fold: What it gave.
    """
    result = out_of_fold.result
    return (result,) if isinstance(result, Skipped) and result != NO_CROSSFIT else ()


@dataclass(frozen=True)
class FoldTraining:
    """Trains the copy of one fold, and lets it predict.

    Attributes:
        plan: What to do.
        source: The samples.
        model: The scanned network, which no copy may share weights with.
        device: Device to run on.
        batch_size: Samples per forward pass of a prediction.
    """

    plan: CrossfitPlan
    source: Source
    model: nn.Module
    device: torch.device
    batch_size: int

    def run(self, fold: int, advance: Callable[[int], None]) -> tuple[NDArray[np.float32], int, nn.Module]:
        """Return a fold's class probabilities, [n, C], the epochs of training, and the trained network.

        Args:
            fold: Fold, from 0.
            advance: Called with the number of samples that the network was trained on.

        Raises:
            CohauditError: If training or a prediction fails.
        """
        plan = self.plan
        seed = seed_of(plan.seed, fold)
        training = TrainingData(self.source, np.flatnonzero(plan.folds != fold))
        held_out = held_out_source(self.source, np.flatnonzero(plan.folds == fold))
        with seeded(seed), _named_after_fold(fold, plan.count):
            network = plan.untrained(seed).to(self.device)
            trained = plan.trainer.train(network, training, seed, advance)
            refuse_shared(trained.network, self.model, plan.trainer.words)
            _refuse_not_finite(trained.network)
            with eval_mode(trained.network):
                # a function can return any network: it must fit the data as the scanned one does
                check_model(trained.network, self.source, self.device)
                probability = answers(trained.network, held_out, self.batch_size, self.device, lambda _: None)
        return probability, trained.epochs, trained.network


def predict_folds(
    training: FoldTraining, store: CheckpointStore, advance: Callable[[int], None]
) -> FoldAnswers:
    """Train and predict fold by fold; each fold is saved when it is done.

    Args:
        training: Trains the copy of a fold.
        store: Saves the folds that are done.
        advance: Called with the number of samples that copies were trained on.

    Raises:
        CohauditError: See `FoldTraining.run`.
        ModelError: If a function returns one network for two folds.
    """
    plan = training.plan
    classes = len(training.source.class_names)
    done = FoldAnswers(plan.folds, plan.count, classes)
    try:
        store.load(done.restore)
    except DamagedError:
        done = FoldAnswers(
            plan.folds, plan.count, classes
        )  # some of the damaged state may have been restored
    for work in plan.work[: len(done.epochs)]:
        advance(work)
    earlier: list[weakref.ref[nn.Module]] = []
    for fold in range(len(done.epochs), plan.count):
        probability, epochs, network = training.run(fold, advance)
        # compared while it lives: the address of a network that is gone may be used again
        if any(reference() is network for reference in earlier):
            raise ModelError(
                plan.trainer.words,
                f"fold {fold + 1} of {plan.count}: returned the network of an earlier fold, which knows the "
                "labels of this one",
                "train the model that the function is given, or build a new one in every call",
            )
        earlier.append(weakref.ref(network))
        del network  # before the next one is built: two may not fit into memory
        done.add(probability, epochs)
        store.keep(done.state())
    return done


def _refuse_not_finite(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise EngineError(
                f"weight {name}",
                "is not finite after training",
                "lower the learning rate (--crossfit-lr), or correct the function that trains",
            )


@contextmanager
def _named_after_fold(fold: int, count: int) -> Iterator[None]:
    """Add to errors which copy they are about."""
    try:
        yield
    except (DataError, EngineError, ModelError) as error:
        raise type(error)(
            f"cross-fit, fold {fold + 1} of {count}", f"{error.where}: {error.found}", error.remedy
        ) from error
