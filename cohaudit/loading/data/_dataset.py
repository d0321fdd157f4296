"""The interface of every kind of dataset, and a check that its inputs are repeatable."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohaudit.errors import DataError
from cohaudit.loading.data._ids import name_sample
from cohaudit.loading.data._inputs import Inputs, content, equal, stack
from cohaudit.loading.data._labels import SampleLabels
from cohaudit.results import Preview

_MAX_REPEATED_READS = 16
"""Samples to read twice, spread over the dataset: random augmentation shows in the first few."""


class LabeledDataset(ABC):
    """Samples in a fixed order, each with an id, a label and an input. It does not change once built.

    Each kind of dataset defines how to read one input and how to show it.

    Args:
        source: Path or factory as the user gave it, or '(in memory)'.
        fingerprint: SHA-256 in hex; each kind defines what it covers.
        samples: Checked ids and labels of the samples, as `label_samples` returns them.
    """

    source: str
    """Path or factory as the user gave it, or '(in memory)'."""
    fingerprint: str
    """SHA-256 in hex, the same for the same data; each kind defines what it covers."""
    ids: list[str]
    """Unique name of each sample, by which a person can find it again, [N]."""
    labels: npt.NDArray[np.int64]
    """Class number of each sample, 0..C-1, [N]. Every class has a sample, except in a holdout."""
    class_names: list[str]
    """Class names in the order of the model's outputs, [C]."""
    index: pd.Index[Any] | None = None
    """Index of the DataFrame or Series that a Python caller gave, [N]; None: the samples count from 0."""
    file: Path | None = None
    """File or folder that holds the samples, or the code that makes them; None if there is none."""

    def __init__(self, source: str, fingerprint: str, samples: SampleLabels) -> None:
        self.source = source
        self.fingerprint = fingerprint
        self.ids = samples.ids
        self.labels = samples.labels
        self.class_names = samples.class_names
        self._digests: dict[int, bytes] = {}

    @property
    @abstractmethod
    def preparation(self) -> str:
        """Changes to a stored input before it goes into the model, in words."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the numbers in an input that is a flat row; empty if they have no names."""
        return ()

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, index: int) -> str:
        """Return a sample's name for messages: the source, the id and, if it differs from the id, the row."""
        return name_sample(self.source, self.ids, index)

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the file that holds a sample, and the line where the sample begins, from 1.

        The line is 0 for a file without lines. The file is None for samples in memory.
        """
        return self.file, 0

    def batch(self, indices: Sequence[int]) -> Inputs:
        """Return the inputs of some samples, stacked in the first dimension, on the CPU.

        Args:
            indices: Positions of the samples, at least one, in any order; a position may occur twice.

        Returns:
            One tensor [len(indices), ...], or a tuple or dict of such tensors: the model is called as
            model(x), model(*x) or model(**x). Floating-point inputs are float32.

        Raises:
            DataError: If an input cannot be read, holds NaN or infinity, or differs in shape from the others.
        """
        samples = [self.sample(i) for i in indices]
        # hashed while it is loaded: reading an image again costs far more than hashing it
        for index, sample in zip(indices, samples, strict=True):
            self._digests.setdefault(index, _digest(sample))
        return stack(samples, [self.where(i) for i in indices])

    def content_hash(self, index: int) -> str:
        """Return a hash of one sample's input: 'sha256:' and 64 hex digits.

        The hash covers the input as the model gets it: name, type, shape and bytes of each tensor, those of a
        dict in the order of their names. It does not cover id, label and position.

        Raises:
            DataError: If the input cannot be read.
        """
        # as the model gets it: a suppression of a label must not survive a change of the transform
        if index not in self._digests:
            self._digests[index] = _digest(self.sample(index))
        return "sha256:" + self._digests[index].hex()

    @abstractmethod
    def sample(self, index: int) -> Inputs:
        """Return one sample's input, without the batch dimension and not yet checked for NaN.

        Raises:
            DataError: If the input cannot be read.
        """

    @abstractmethod
    def raw(self, index: int) -> Any:
        """Return one sample as it is stored, before any preparation for the model.

        Returns:
            A text, a PIL image, a row as a dict of column → cell, an array or tensor, or whatever else a
            torch dataset gives as input.

        Raises:
            DataError: If the sample cannot be read.
        """

    @abstractmethod
    def preview(self, index: int) -> Preview:
        """Return a picture or text that shows one sample to a person."""


def _digest(sample: Inputs) -> bytes:
    return hashlib.sha256(content(sample)).digest()


def check_repeatable(dataset: LabeledDataset) -> None:
    """Read a few samples twice and compare them, because an audit reads each sample several times.

    Raises:
        DataError: If a sample's input differs from one reading to the next.
    """
    # spread over the dataset: random augmentation may be limited to some classes
    count = min(_MAX_REPEATED_READS, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count, dtype=int).tolist():
        if not equal(dataset.sample(index), dataset.sample(index)):
            raise DataError(
                dataset.where(index),
                "the input differs each time it is read",
                "remove random augmentation (crops, flips, noise) from the dataset and the transform",
            )
