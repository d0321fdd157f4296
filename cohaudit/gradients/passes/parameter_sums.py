"""The class sums of one parameter."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.passes.reading import ClassSlice
from cohaudit.gradients.passes.resume_protocol import Arrays
from cohaudit.gradients.precision import SMALLEST_FLOAT64, sum_device
from cohaudit.gradients.saved_arrays import overwrite
from cohaudit.gradients.sketch import Projection, fold

Array = NDArray[np.float64]

GRAM_COLUMNS = 16384
"""Inner products are formed in float32 over this many columns, and these parts added in float64."""

SAFE_SQUARES = 1e-200, 1e200
"""Sums of squares in this range have lost nothing to under- or overflow."""

NO_CLASS = -1
"""Stands for the current class before the first sample and after the last."""


@dataclass(frozen=True)
class ParameterSumsState:
    """What the sums of one parameter hold between two batches.

    Attributes:
        total: Sum over the finished classes, shaped like the parameter.
        current: Sum over the samples of the current class so far, likewise.
        directions: Each finished class's sum, scaled to norm 1, whole or shortened, [classes, numbers].
        norms: Norm of each finished class's sum, [classes].
        label: The current class.
    """

    total: NDArray[np.float64]
    current: NDArray[np.float64]
    directions: NDArray[np.floating]
    norms: Array
    label: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, to be saved."""
        return {
            "total": self.total,
            "current": self.current,
            "directions": self.directions,
            "norms": self.norms,
            "class": np.array(self.label),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, suffix: str) -> ParameterSumsState:
        """Return the state that was saved under names with this suffix.

        Raises:
            KeyError: If an array is missing.
        """
        return cls(
            total=arrays[f"total{suffix}"],
            current=arrays[f"current{suffix}"],
            directions=arrays[f"directions{suffix}"],
            norms=arrays[f"norms{suffix}"],
            label=int(arrays[f"class{suffix}"]),
        )


class ParameterSums:
    """Adds up the gradients of one parameter, class by class.

    Args:
        parameter: The parameter.
        projection: Its random projection.
        squares: Array to add the squared norm of each class's sum to, [classes].
        sketches: Array to write the sketch of each class's sum to, [classes, columns].
        directions: Zeros, [classes, numbers stored of a class's direction].

    Attributes:
        total: Sum over the finished classes, float64, shaped like the parameter.
    """

    def __init__(
        self,
        parameter: Tensor,
        projection: Projection,
        squares: Array,
        sketches: Array,
        directions: Tensor,
    ) -> None:
        self.total = torch.zeros_like(parameter, dtype=torch.float64, device=directions.device)
        self._current = torch.zeros_like(self.total)
        self._parameter = parameter
        self._projection = projection
        self._squares = squares
        self._sketches = sketches
        self._directions = directions
        self._norms = np.zeros(len(squares))
        self._class = NO_CLASS

    def state(self) -> ParameterSumsState:
        """Return what the sums hold; on a CPU it shares their memory."""
        return ParameterSumsState(
            total=self.total.cpu().numpy(),
            current=self._current.cpu().numpy(),
            directions=self._directions.cpu().numpy(),
            norms=self._norms,
            label=self._class,
        )

    def restore(self, state: ParameterSumsState) -> None:
        """Continue from a state.

        Raises:
            ValueError: If it belongs to another parameter.
        """
        overwrite(self._norms, state.norms)
        self._class = state.label
        _overwrite_tensor(self.total, state.total)
        _overwrite_tensor(self._current, state.current)
        _overwrite_tensor(self._directions, state.directions)

    def add(self, part: ClassSlice, total: Tensor) -> None:
        """Add some samples of one class.

        Args:
            part: The samples; their class does not come before that of samples added earlier.
            total: Sum of their gradients over `part.peak`.
        """
        # samples arrive class by class, so another label means that the class before is complete
        if part.label != self._class:
            self.close()
            self._class = part.label
        self._current.add_(total.to(self._current.device), alpha=part.peak)

    def close(self) -> None:
        """Finish the current class: write its square and sketch, add it to the total, and start from zero."""
        if self._class == NO_CLASS:
            return
        # direction and norm apart: float32 cannot hold a fitted class's sum, but its direction
        direction, norm = _direction(self._current)
        direction = direction.to(self._directions.dtype)
        self._norms[self._class] = norm
        # added: the parameters of a layer share this array
        self._squares[self._class] += norm**2
        # the sketch of the direction, scaled afterwards in float64: the sum itself may underflow in float32
        sketch = Dense(direction[None].to(self._parameter.device)).sketch(self._projection)[0]
        self._sketches[self._class] = norm * sketch.cpu().double().numpy()
        self._directions[self._class] = self._shortened(direction)
        self.total += self._current
        self._current.zero_()
        self._class = NO_CLASS

    def _shortened(self, direction: Tensor) -> Tensor:
        """Return the numbers stored of a direction: all, or a count sketch with the projection's signs."""
        size = self._directions.shape[1]
        if size == direction.numel():
            return direction.flatten()
        rows = direction.reshape(len(self._projection.row_signs), -1)
        signs = self._projection.row_signs[:, None] * self._projection.column_signs
        return fold((rows * signs.to(rows)).flatten(), size)

    @property
    def numbers(self) -> int:
        """Numbers stored of each class's direction."""
        return self._directions.shape[1]

    def gram(self) -> Array:
        """Return the inner products of the classes' sums, [classes, classes]."""
        # float64 products of all columns would take twice the memory and, on most GPUs, much more time
        cosines = torch.zeros(len(self._directions), len(self._directions), dtype=torch.float64)
        for block in self._directions.split(GRAM_COLUMNS, 1):
            cosines += (block @ block.mT).cpu()
        gram: Array = cosines.numpy() * np.outer(self._norms, self._norms)
        return gram


def make_parameter_sums(
    parameter: Tensor, projection: Projection, squares: Array, sketches: Array, size: int
) -> ParameterSums:
    """Return sums of zero.

    Args:
        parameter: The parameter.
        projection: Its random projection.
        squares: Array to add the squared norm of each class's sum to, [classes].
        sketches: Array to write the sketch of each class's sum to, [classes, columns].
        size: Largest number of entries to store of each class's direction.
    """
    columns = len(projection.column_signs)
    # With a common divisor, entries of different rows collide only within a column or a few, and where
    # samples share their activations such collisions do not average out.
    while size < parameter.numel() and gcd(size, columns) > 1:
        size -= 1
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    directions = torch.zeros(len(squares), size, dtype=dtype, device=sum_device(parameter))
    return ParameterSums(parameter, projection, squares, sketches, directions)


def _overwrite_tensor(target: Tensor, saved: NDArray[Any]) -> None:
    # in its place: with another memory layout numbers could be added up in another order
    whole = target.cpu()
    overwrite(whole.numpy(), saved)
    target.copy_(whole)


def _direction(total: Tensor) -> tuple[Tensor, float]:
    """Return a float64 tensor scaled to norm 1, and its norm."""
    flat = total.flatten()
    square = torch.dot(flat, flat).item()
    if not SAFE_SQUARES[0] < square < SAFE_SQUARES[1]:
        # divide by the largest entry first: the squares of a well fitted class's gradients are zero in
        # float64
        largest = flat.abs().max().item()
        scaled = total / largest if largest > SMALLEST_FLOAT64 else torch.zeros_like(total)
        length = scaled.norm().item()
        return scaled / (length or 1.0), largest * length
    norm = square**0.5
    return total / norm, norm
