"""The model on samples that it was not trained on: how much worse it does, and whether their gradients agree.

A step along the training samples' mean gradient lowers a new sample's loss in so far as the two gradients
agree: coherence between training and holdout is what coherence within the training promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.analysis.coherence import pairwise_coherence
from cohaudit.analysis.generalization_gap import measured_gap
from cohaudit.config import Config
from cohaudit.errors import CohauditError, DataError
from cohaudit.gradients import Measurement, Options, Source, answers, measure
from cohaudit.loading.data import LabeledDataset, as_dataset, with_columns
from cohaudit.results import Holdout, Risk, Skipped

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
FEWEST = 2
"""Samples of which agreement can be told."""


@dataclass(frozen=True)
class Trained:
    """What was measured of the training data.

    Attributes:
        measured: The samples.
        accuracy: Share of them that the model predicts as labeled.
        options: How.
    """

    measured: Measurement
    accuracy: float
    options: Options


def open_holdout(holdout: Any, training: LabeledDataset, config: Config) -> LabeledDataset | None:
    """Open the samples that the model was not trained on, if any are given.

    Args:
        holdout: As `as_dataset` takes it; None or empty for none, then the one that `config` names, if any.
        training: The training data, whose classes count.
        config: Settings.

    Raises:
        ConfigError: If a key means nothing for this kind of data.
        DataError: If it cannot be read, or its classes or their order are not those of the training data.
    """
    if holdout is None or (isinstance(holdout, str) and not holdout):
        holdout = config.holdout
    if isinstance(holdout, str) and not holdout:
        return None
    named = replace(with_columns(config, holdout, training), class_names=tuple(training.class_names))
    with _named(str(holdout) if isinstance(holdout, str | Path) else "(in memory)"):
        opened = as_dataset(holdout, named, "Holdout's inputs", complete=False)
    if opened.class_names != training.class_names:
        raise DataError(
            f"{opened.source}, the holdout",
            f"its classes are {_some(opened.class_names)}, those of the training data "
            f"{_some(training.class_names)}",
            "give both the same class_names, in the order of the model's outputs",
        )
    return opened


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f", … ({len(names)})" if len(names) > 5 else "")


@dataclass(frozen=True)
class NewSamples:
    """The samples of a holdout that the model was not trained on, each once.

    Attributes:
        source: The samples.
        repeated: How many others are in the training data as well, or come twice.
    """

    source: Source
    repeated: int


def new_samples(holdout: LabeledDataset, training: LabeledDataset, config: Config) -> NewSamples | Skipped:
    """Leave out what is in the training data as well: on these the model shows what it remembers.

    Args:
        holdout: The samples; of more than `limit`, as many are drawn.
        training: The training data, whole.
        config: Settings.

    Raises:
        DataError: If an input cannot be read.
    """
    new, chosen = _new_samples(holdout, training, config)
    repeated = chosen - len(new)
    if len(new) < FEWEST:
        reason = (
            f"{repeated:,} of its {chosen:,} samples are in the training data as well, or come twice, "
            f"and fewer than {FEWEST} are left"
        )
        return Skipped(f"holdout {holdout.source}", reason)
    source = Source(
        load=lambda indices: holdout.batch(new[list(indices)].tolist()),
        labels=holdout.labels[new],
        ids=[holdout.ids[i] for i in new],
        class_names=holdout.class_names,
    )
    return NewSamples(source, repeated)


def measure_holdout(
    model: nn.Module,
    holdout: LabeledDataset,
    new: NewSamples,
    trained: Trained,
    device: torch.device,
    advance: Callable[[int], None],
) -> Holdout:
    """Measure the model on samples that it was not trained on.

    Args:
        model: On `device`, in eval mode.
        holdout: The whole holdout, for its name.
        new: Its samples that are new.
        trained: What was measured of the training data.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        DataError: If an input cannot be read.
        ModelError: If model and samples do not fit.
        EngineError: If gradients cannot be measured.
    """
    with _named(holdout.source):
        found = measure(model, new.source, trained.options, device, advance)
    accuracy = float(np.mean(found.predicted == new.source.labels))
    mean, energy = _mean(found)
    own_mean, own_energy = _mean(trained.measured)
    product = float(mean @ own_mean)
    lengths = float(np.linalg.norm(mean) * np.linalg.norm(own_mean))
    count = len(new.source.labels)
    return Holdout(
        data=holdout.source,
        data_fingerprint=holdout.fingerprint,
        samples=count,
        repeated=new.repeated,
        accuracy=accuracy,
        gap=measured_gap(trained.accuracy, accuracy, count),
        cosine=product / lengths if lengths else 0.0,
        within=_within(trained.measured),
        across=product / float(np.sqrt(energy * own_energy)) if energy * own_energy else 0.0,
    )


def _new_samples(holdout: LabeledDataset, training: LabeledDataset, config: Config) -> tuple[Integers, int]:
    """Return which samples are neither in the training data nor repeated, and of how many these are."""
    seen = {training.content_hash(i) for i in range(len(training))}
    chosen = np.arange(len(holdout))
    if 0 < config.limit < len(chosen):
        chosen = np.sort(np.random.default_rng(config.seed).permutation(len(chosen))[: config.limit])
    new = []
    for i in chosen.tolist():
        content = holdout.content_hash(i)
        if content not in seen:
            seen.add(content)
            new.append(i)
    return np.array(new, dtype=np.int64), len(chosen)


def check_fit(model: nn.Module, holdout: LabeledDataset, config: Config, device: torch.device) -> None:
    """Let the model answer a few samples of the holdout, before anything expensive happens.

    Raises:
        DataError: If an input cannot be read.
        ModelError: If model and samples do not fit.
        EngineError: If an answer is not finite.
    """
    few = list(range(min(FEWEST, len(holdout))))
    source = Source(
        load=lambda indices: holdout.batch(list(indices)),
        labels=holdout.labels[few],
        ids=[holdout.ids[i] for i in few],
        class_names=holdout.class_names,
    )
    with _named(holdout.source):
        answers(model, source, config.batch_size, device, lambda _: None)


def not_used(
    found: Holdout | Skipped, holdout: LabeledDataset | None, risk: Risk | Skipped
) -> tuple[Skipped, ...]:
    """Return the holdout where one was given and could not be used.

    Args:
        found: What was measured of it.
        holdout: The samples; None where none was given.
        risk: Of the audit.
    """
    if holdout is None:
        return ()
    if isinstance(risk, Skipped):
        return (Skipped(f"holdout {holdout.source}", risk.reason),)
    return (found,) if isinstance(found, Skipped) else ()


def unused_notice(found: Holdout | Skipped, holdout: LabeledDataset | None) -> Iterator[str]:
    """Tell of a holdout that could not be measured: whoever gave it counts on it.

    Args:
        found: What was measured of it.
        holdout: The samples; None where none was given.
    """
    if holdout is not None and isinstance(found, Skipped) and found.name != "holdout":
        yield f"The {found.name} was not used: {found.reason}."


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Say of what goes wrong that it is the holdout's: its samples are called like those of the training."""
    try:
        yield
    except CohauditError as error:
        if source in error.where:
            raise
        raise type(error)(f"holdout {source}, {error.where}", error.found, error.remedy) from error


def _mean(found: Measurement) -> tuple[Array, float]:
    """Return the mean gradient's sketch, and the mean squared norm, on a scale that float64 can square."""
    mean, peak = found.mean_gradient()
    return mean, float((found.squared_norms.sum(1) / peak / peak).mean())


def _within(measured: Measurement) -> float:
    total = float(measured.total_squares.sum())
    energy = float(measured.squared_norms.sum())
    return pairwise_coherence(total, energy, len(measured.scale)) if energy else 0.0
