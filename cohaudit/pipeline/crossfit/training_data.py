"""A part of the samples as a torch Dataset, read as the scan reads them: when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset

from cohaudit.gradients import Source

Integers = NDArray[np.int64]


class TrainingData(Dataset[tuple[Any, int]]):
    """Map-style dataset of (input, label) pairs: the input as the model gets it, without batch dimension.

    Args:
        source: All samples.
        positions: Positions of the part in it, int64 [n].
    """

    def __init__(self, source: Source, positions: Integers) -> None:
        self._source = source
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        position = int(self._positions[index])
        inputs = pytree.tree_map(lambda part: part[0], self._source.load([position]))
        return inputs, int(self._source.labels[position])

    @property
    def labels(self) -> Integers:
        """Class of each sample of the part, [n]."""
        return self._source.labels[self._positions]

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """Return a batch of inputs on the CPU, and their labels, int64 [batch].

        Args:
            indices: Positions in the part.
        """
        positions = self._positions[list(indices)]
        return self._source.load(positions.tolist()), torch.from_numpy(self._source.labels[positions])

    def part(self, indices: Integers) -> TrainingData:
        """Return a part of the part.

        Args:
            indices: Positions in this part.
        """
        return TrainingData(self._source, self._positions[indices])


def held_out_source(source: Source, positions: Integers) -> Source:
    """Return some of the samples as a forward pass takes them.

    Args:
        source: All samples.
        positions: Positions of the part in it, int64 [n].
    """
    return Source(
        load=lambda indices: source.load(positions[list(indices)].tolist()),
        labels=source.labels[positions],
        ids=[source.ids[i] for i in positions.tolist()],
        class_names=source.class_names,
    )
