"""The types of what a Python caller can give as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cohaudit.loading.data._dataset import LabeledDataset


class LabeledSamples(Protocol):
    """A sequence of (input, label) pairs, such as a list of them."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]:
        """Return the input and the label of one sample."""
        ...


ArrayPair: TypeAlias = tuple[Tensor | NDArray[Any], Tensor | NDArray[Any]]
"""Inputs [samples, …] and labels [samples]."""

# Dataset stands beside the protocol because torch declares no length for it; _torch_dataset asks for one
DatasetLike: TypeAlias = Dataset[Any] | LabeledSamples | ArrayPair | LabeledDataset | str | Path
"""A map-style torch Dataset of (input, label) pairs, a sequence of such pairs, a pair of arrays, or a path or
factory as in the configuration key `data`."""
