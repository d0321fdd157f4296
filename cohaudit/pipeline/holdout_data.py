"""The holdout, opened and stripped of everything that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.config import Config
from cohaudit.errors import CohauditError, DataError
from cohaudit.gradients import Source, answers
from cohaudit.loading.data import LabeledDataset, as_dataset, with_columns
from cohaudit.results import Skipped

Integers = NDArray[np.int64]
NO_HOLDOUT = Skipped("holdout", "none was given: --holdout")
"""Stands where no holdout was given."""
MIN_HOLDOUT_SAMPLES = 2
"""Smallest holdout that is measured: agreement between gradients needs two samples."""
NAMED_CLASSES = 5
"""Class names listed at most in an error message."""


@dataclass(frozen=True)
class NewSamples:
    """The samples of a holdout that the model was not trained on, each once.

    Attributes:
        source: The samples.
        positions: Position of each in the holdout, rising, int64 [samples].
        repeated: Number of others, which are in the training data too or occur twice.
    """

    source: Source
    positions: Integers
    repeated: int


def source_of(dataset: LabeledDataset, positions: Integers) -> Source:
    """Return some samples of a dataset as the gradient pass takes them.

    Args:
        dataset: The whole dataset.
        positions: Position of each sample in it, int64 [N].
    """
    return Source(
        load=lambda indices: dataset.batch(positions[list(indices)].tolist()),
        labels=dataset.labels[positions],
        ids=[dataset.ids[i] for i in positions],
        class_names=dataset.class_names,
    )


def open_holdout(holdout: Any, training: LabeledDataset, config: Config) -> LabeledDataset | None:
    """Open the samples that the model was not trained on, if any are given.

    Args:
        holdout: Anything that `as_dataset` takes; None or an empty text stands for the one that `config`
            names, if it names one.
        training: The training data, whose classes count.
        config: Settings.

    Raises:
        ConfigError: If a key has no effect for this kind of data.
        DataError: If it cannot be read, or its classes or their order differ from the training data's.
    """
    # only a text is tested for being empty: an array of several numbers has no truth value
    if holdout is None or (isinstance(holdout, str) and not holdout):
        holdout = config.holdout
    if isinstance(holdout, str) and not holdout:
        return None
    # a holdout may lack a class, so that names cannot be taken from its labels
    named = replace(with_columns(config, holdout, training), class_names=tuple(training.class_names))
    with errors_named_after(str(holdout) if isinstance(holdout, str | Path) else "(in memory)"):
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
    more = f", … ({len(names)})" if len(names) > NAMED_CLASSES else ""
    return ", ".join(map(repr, names[:NAMED_CLASSES])) + more


def check_fit(model: nn.Module, holdout: LabeledDataset, config: Config, device: torch.device) -> None:
    """Run the model on a few samples of the holdout, before anything expensive happens.

    Args:
        model: On `device`, in eval mode.
        holdout: The whole holdout.
        config: Settings.
        device: Device to run on.

    Raises:
        DataError: If an input cannot be read.
        ModelError: If the model cannot be called on the samples.
        EngineError: If an output is not finite.
    """
    few = np.arange(min(MIN_HOLDOUT_SAMPLES, len(holdout)))
    with errors_named_after(holdout.source):
        answers(model, source_of(holdout, few), config.batch_size, device, lambda _: None)


def new_samples(holdout: LabeledDataset, training: LabeledDataset, config: Config) -> NewSamples | Skipped:
    """Leave out what is in the training data too: on those samples the model shows what it remembers.

    Args:
        holdout: The whole holdout; if it has more than `limit` samples, that many are drawn.
        training: The whole training data, not only the samples measured.
        config: Settings.

    Raises:
        DataError: If an input cannot be read.
    """
    new, drawn = _new_positions(holdout, training, config)
    repeated = drawn - len(new)
    if len(new) < MIN_HOLDOUT_SAMPLES:
        reason = (
            f"{repeated:,} of its {drawn:,} samples are in the training data as well, or come twice, "
            f"and fewer than {MIN_HOLDOUT_SAMPLES} are left"
        )
        return Skipped(f"holdout {holdout.source}", reason)
    return NewSamples(source_of(holdout, new), new, repeated)


def _new_positions(holdout: LabeledDataset, training: LabeledDataset, config: Config) -> tuple[Integers, int]:
    """Return the positions of the new samples, and how many samples were drawn."""
    # by content, not by id: the same image can lie in both folders under two names
    seen = {training.content_hash(i) for i in range(len(training))}
    drawn = np.arange(len(holdout))
    if 0 < config.limit < len(drawn):
        drawn = np.sort(np.random.default_rng(config.seed).permutation(len(drawn))[: config.limit])
    new = []
    for i in drawn.tolist():
        content = holdout.content_hash(i)
        if content not in seen:
            seen.add(content)  # a sample that comes twice counts once
            new.append(i)
    return np.array(new, dtype=np.int64), len(drawn)


@contextmanager
def errors_named_after(source: str) -> Iterator[None]:
    """Put the holdout's name in front of errors: its samples can have the same ids as the training data's."""
    try:
        yield
    except CohauditError as error:
        # named already, as when the holdout itself cannot be opened
        if source in error.where:
            raise
        raise type(error)(f"holdout {source}, {error.where}", error.found, error.remedy) from error
