"""The types of what a Python caller can give as data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pandas as pd
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cohaudit.loading.data._dataset import LabeledDataset


class LabeledSamples(Protocol):
    """A sequence of (input, label) pairs, such as a list of them."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...] | Mapping[str, Any]:
        """Return the input and the label of one sample."""
        ...


if TYPE_CHECKING:
    Series: TypeAlias = pd.Series[Any]
else:  # pandas has no generic Series outside of its stubs
    Series = pd.Series

Column: TypeAlias = Tensor | NDArray[Any] | Series | list[Any]
"""One value for each sample."""
ArrayPair: TypeAlias = tuple[Column | pd.DataFrame, Column]
"""Inputs [samples, …] and labels [samples]."""

# Dataset stands beside the protocol because torch declares no length for it; _torch_dataset asks for one
DatasetLike: TypeAlias = (
    pd.DataFrame | Dataset[Any] | LabeledSamples | ArrayPair | LabeledDataset | str | Path
)
"""A DataFrame; a map-style Dataset of (input, label) pairs or of dictionaries, or a sequence of these; a pair
of arrays; or a path or factory as in the configuration key `data`."""
