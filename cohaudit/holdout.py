"""The model on samples that it was not trained on: how much worse it does, and whether their gradients agree.

A step along the training samples' mean gradient lowers a new sample's loss in so far as the two gradients
agree: coherence between training and holdout is what coherence within the training promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.coherence import pairwise_coherence
from cohaudit.config import Config
from cohaudit.data import LabeledDataset, as_dataset, with_columns
from cohaudit.errors import CohauditError, DataError
from cohaudit.gradients import Measurement, Options, Source, measure
from cohaudit.risk import measured_gap
from cohaudit.subsample import choose_samples
from cohaudit.verdict import Holdout, Skipped

Array = NDArray[np.float64]
BLOCK = 4096
"""Sketches in memory at once."""
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
    opened = as_dataset(holdout, named, "Holdout's inputs")
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


def measure_holdout(
    model: nn.Module,
    holdout: LabeledDataset,
    training: LabeledDataset,
    trained: Trained,
    config: Config,
    device: torch.device,
    advance: Callable[[int], None],
) -> Holdout | Skipped:
    """Measure the model on samples that it was not trained on.

    Samples that are in the training data as well are left out: on these the model shows what it remembers.

    Args:
        model: On `device`, in eval mode.
        holdout: The samples; of more than `limit`, as many are drawn.
        training: The training data, whole.
        trained: What was measured of it.
        config: Settings.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        DataError: If an input cannot be read.
        ModelError: If model and samples do not fit.
        EngineError: If gradients cannot be measured.
    """
    seen = {training.content_hash(i) for i in range(len(training))}
    chosen = choose_samples(holdout.labels, config.limit, config.seed)
    new = np.array([i for i in chosen if holdout.content_hash(int(i)) not in seen], dtype=np.int64)
    repeated = len(chosen) - len(new)
    if len(new) < FEWEST:
        reason = f"{repeated:,} of its {len(chosen):,} samples are in the training data as well"
        return Skipped(f"holdout {holdout.source}", reason)
    source = Source(
        load=lambda indices: holdout.batch(new[list(indices)].tolist()),
        labels=holdout.labels[new],
        ids=[holdout.ids[i] for i in new],
        class_names=holdout.class_names,
    )
    with _named(holdout.source):
        found = measure(model, source, trained.options, device, advance)
    accuracy = float(np.mean(found.predicted == source.labels))
    mean, energy = _mean(found)
    own_mean, own_energy = _mean(trained.measured)
    product, lengths = float(mean @ own_mean), float(np.linalg.norm(mean) * np.linalg.norm(own_mean))
    return Holdout(
        data=holdout.source,
        data_fingerprint=holdout.fingerprint,
        samples=len(new),
        repeated=repeated,
        accuracy=accuracy,
        gap=measured_gap(trained.accuracy, accuracy, len(new)),
        cosine=product / lengths if lengths else 0.0,
        within=_within(trained.measured),
        across=product / float(np.sqrt(energy * own_energy)) if energy * own_energy else 0.0,
    )


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
    peak = found.scale.max(initial=0.0) or 1.0
    scale, total = found.scale / peak, np.zeros(found.sketches.shape[1])
    for start in range(0, len(scale), BLOCK):
        part = slice(start, start + BLOCK)
        total += scale[part] @ np.asarray(found.sketches[part], dtype=np.float64)
    return total / len(scale), float((found.squared_norms.sum(1) / peak / peak).mean())


def _within(measured: Measurement) -> float:
    total, energy = float(measured.total_squares.sum()), float(measured.squared_norms.sum())
    return pairwise_coherence(total, energy, len(measured.scale)) if energy else 0.0
