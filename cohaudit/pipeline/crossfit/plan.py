"""What a cross-fit will do, tried and timed before the scan measures anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.analysis.sanity import is_skilled
from cohaudit.errors import EngineError, ModelError
from cohaudit.gradients import Source, answers, check_model
from cohaudit.loading.model import eval_mode
from cohaudit.pipeline.crossfit.fit_function import FitFunction
from cohaudit.pipeline.crossfit.folds import assign_folds, unseen_samples
from cohaudit.pipeline.crossfit.recipe import loop_recipe
from cohaudit.pipeline.crossfit.retraining import Retraining
from cohaudit.pipeline.crossfit.seeded import seed_of, seeded
from cohaudit.pipeline.crossfit.training_data import TrainingData, held_out_source
from cohaudit.pipeline.crossfit.training_loop import TrainingLoop
from cohaudit.pipeline.crossfit.untrained import Untrained, refuse_trained, same_weights
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results.wording import duration

PREPARE_CROSSFIT = "prepare the cross-fit"
"""Stage that divides the samples, tries an untrained network, and times a few steps."""
MAX_TRIED = 512
"""Samples, spread over the data, that an untrained network predicts: enough to see whether it is trained."""


@dataclass(frozen=True)
class CrossfitPlan:
    """What a cross-fit will do.

    Attributes:
        folds: Fold of each sample, int64 [N].
        count: Number of folds.
        untrained: Builds an untrained network from a seed.
        trainer: Trains it.
        seed: Seed of the scan.
        seconds: Most seconds that training will take; None if unknown.
        unseen: Samples whose class is in no other fold.
        notices: What a reader must know, in sentences.
    """

    folds: NDArray[np.int64]
    count: int
    untrained: Untrained
    trainer: TrainingLoop | FitFunction
    seed: int
    seconds: float | None
    unseen: int
    notices: tuple[str, ...]

    @property
    def forecast(self) -> str:
        """Time that it will take, in words."""
        if self.seconds is None:
            return "its time is known after the first fold"
        stops = isinstance(self.trainer, TrainingLoop) and not self.trainer.recipe.epochs
        return f"{'at most' if stops else 'about'} {duration(self.seconds)}"

    @property
    def work(self) -> list[int]:
        """Samples that the copy of each fold is trained on, times its passes over them."""
        sizes = np.bincount(self.folds, minlength=self.count)
        return [self.trainer.passes * (len(self.folds) - int(size)) for size in sizes]


def plan_crossfit(subject: ScanSubject, sample: Sample, run: ScanRun) -> CrossfitPlan | None:
    """Divide the samples into folds, try an untrained network, and time a few steps; None if not asked for.

    Args:
        subject: Model and data; the model is in eval mode and left as it is.
        sample: The samples to measure.
        run: The scan's instructions.

    Raises:
        ConfigError: If there are more folds than different inputs.
        ModelError: If the factory's networks do not fit the data, share weights, or are trained already.
        CohauditError: If a step of training fails.
    """
    retraining = subject.retraining
    if retraining is None:
        return None
    source = sample.source
    config = run.config
    with run.stages(PREPARE_CROSSFIT):
        contents = [subject.dataset.content_hash(i) for i in sample.positions.tolist()]
        folds = assign_folds(source.labels, contents, config.crossfit, config.seed)
        trainer = retraining.fit or TrainingLoop(
            loop_recipe(config, retraining.recorded, len(source.labels)), subject.device
        )
        # the numbers after those of the folds: nothing that is tried here affects a fold
        first, second = (seed_of(config.seed, config.crossfit + i) for i in range(2))
        with seeded(first):
            network, other = (retraining.untrained(seed).to(subject.device) for seed in (first, second))
            refuse_trained(network, other, subject.model, retraining.builder)
            with _named_after(retraining), eval_mode(network):
                check_model(network, source, subject.device)
                knows = same_weights(network, other) and _knows_labels(network, source, subject.device)
            seconds = None
            if isinstance(trainer, TrainingLoop):
                data = TrainingData(source, np.flatnonzero(folds != 0))
                seconds = config.crossfit * trainer.seconds_per_network(network, data)
    unseen = unseen_samples(source.labels, folds)
    notices = (*_about_unseen(unseen, len(folds)), *_about_knowing(knows, retraining))
    return CrossfitPlan(
        folds, config.crossfit, retraining.untrained, trainer, config.seed, seconds, unseen, notices
    )


def _knows_labels(network: nn.Module, source: Source, device: torch.device) -> bool:
    """Return whether a network that nobody has trained predicts the labels better than chance."""
    count = min(MAX_TRIED, len(source.labels))
    few = held_out_source(source, np.unique(np.linspace(0, len(source.labels) - 1, count).astype(np.int64)))
    predicted = answers(network, few, count, device, lambda _: None).argmax(1)
    present, own = np.unique(few.labels, return_inverse=True)
    # only classes that are there count; a prediction of another one is wrong
    places = np.where(predicted == few.labels, own, (own + 1) % max(2, len(present)))
    return len(present) > 1 and is_skilled(places, own, len(present))


@contextmanager
def _named_after(retraining: Retraining) -> Iterator[None]:
    """Say in errors that they are about an untrained network, and what built it."""
    try:
        yield
    except (ModelError, EngineError) as error:
        raise type(error)(
            f"{retraining.builder}, untrained, for the cross-fit",
            f"{error.where}: {error.found}",
            error.remedy,
        ) from error


def _about_unseen(unseen: int, samples: int) -> Iterator[str]:
    if unseen:
        yield (
            f"Cross-fit: {unseen:,} of {samples:,} samples are of classes whose samples are all in one fold. "
            "No copy of the network could predict their label."
        )


def _about_knowing(knows: bool, retraining: Retraining) -> Iterator[str]:
    if knows:
        yield (
            f"Cross-fit: {retraining.builder} returns the same weights whatever the seed, and they predict "
            "labels before any training. If they were trained on these samples, the out-of-fold predictions "
            "know the labels: build the network without them."
        )
