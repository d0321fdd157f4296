"""What every kind of dataset offers the audit."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cohaudit.errors import DataError
from cohaudit.loading.data._ids import check_ids, name_sample
from cohaudit.loading.data._inputs import Inputs, content, equal, stack
from cohaudit.loading.data._labels import encode_labels
from cohaudit.results import Preview

_PROBES = 16


class LabeledDataset(ABC):
    """Samples in a fixed order, each with an id, a label and an input; immutable once built.

    A kind of dataset says how to read one input and how to show it; ids and labels are checked here.

    Args:
        source: Path or factory as given, or '(in memory)'.
        fingerprint: SHA-256, hex; each kind says what it covers.
        ids: One id a sample.
        labels: One label a sample: class numbers from 0, or names of classes.
        class_names: Names in the order of the model's outputs; empty: taken from the labels.

    Raises:
        DataError: If ids repeat, lengths differ, or labels cannot be audited.
    """

    source: str
    """Path or factory as given, or '(in memory)'."""
    fingerprint: str
    """SHA-256 in hex, equal for equal data; each kind says what it covers."""
    ids: list[str]
    """What a person can find a sample again by; unique."""
    labels: npt.NDArray[np.int64]
    """[N], class numbers 0..C-1; every class has a sample, but in a holdout."""
    class_names: list[str]
    """C names, in the order of the model's outputs."""
    file: Path | None = None
    """The file or folder that holds the samples, or whose code makes them; None where there is none."""

    def __init__(
        self,
        source: str,
        fingerprint: str,
        ids: Sequence[str],
        labels: npt.ArrayLike,
        class_names: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.fingerprint = fingerprint
        self.ids = check_ids(ids, source)
        self.labels, self.class_names = encode_labels(labels, class_names, source, self.ids, complete=False)

    @property
    @abstractmethod
    def preparation(self) -> str:
        """What is done to a stored input before the model gets it, in words."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the entries of an input that is a flat row; empty where they have none."""
        return ()

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, index: int) -> str:
        """Name a sample for an error message: the source, the id and, where the two differ, the row."""
        return name_sample(self.source, self.ids, index)

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the file that a sample lies in, and the line that it begins in, from 1.

        The line is 0 where the file has none; the file is None where the samples are in memory.
        """
        return self.file, 0

    def batch(self, indices: Sequence[int]) -> Inputs:
        """Return the inputs of some samples, stacked in the first dimension, on the CPU.

        Args:
            indices: Positions of the samples, at least one; repeats and any order are allowed.

        Returns:
            One tensor [len(indices), ...], or a tuple or dict of such: the model is called as
            model(x), model(*x) or model(**x). Floating-point inputs are float32.

        Raises:
            DataError: If an input cannot be read, holds NaN or infinity, or differs in shape from the others.
        """
        return stack([self.sample(i) for i in indices], [self.where(i) for i in indices])

    def content_hash(self, index: int) -> str:
        """Return what tells one sample's input from others: 'sha256:' and 64 hex digits.

        The SHA-256 of the input as the model gets it: name, type, shape and bytes of each of its tensors,
        those of a dict in the order of their names. Id, label and position are no part of it.

        Raises:
            DataError: If the input cannot be read.
        """
        return "sha256:" + hashlib.sha256(content(self.sample(index))).hexdigest()

    @abstractmethod
    def sample(self, index: int) -> Inputs:
        """Return one sample's input, without the batch dimension; not yet checked for NaN.

        Raises:
            DataError: If the input cannot be read.
        """

    @abstractmethod
    def preview(self, index: int) -> Preview:
        """Return what a person is shown of one sample."""


def check_repeatable(dataset: LabeledDataset) -> None:
    """Read a few samples twice: an audit visits each several times and needs the same input every time.

    Raises:
        DataError: If a sample's input differs from one reading to the next.
    """
    for index in np.linspace(0, len(dataset) - 1, min(_PROBES, len(dataset)), dtype=int).tolist():
        if not equal(dataset.sample(index), dataset.sample(index)):
            raise DataError(
                dataset.where(index),
                "the input differs each time it is read",
                "take the random augmentation out of the dataset or transform (crops, flips, noise)",
            )
