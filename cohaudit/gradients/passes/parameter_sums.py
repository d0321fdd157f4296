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
from cohaudit.gradients.passes.blocks import NO_CLASS, BlockClasses
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


@dataclass(frozen=True)
class ParameterSumsState:
    """What the sums of one parameter hold between two batches.

    Attributes:
        total: See `ParameterSums.total`.
        aside: Sum over the block's finished classes, or over the blocks before of the class that goes on.
        current: Sum over the block's samples of the current class so far; all three are shaped like the
            parameter.
        directions: Each finished class's sum, scaled to norm 1, whole or shortened, [classes, numbers].
        norms: Norm of each finished class's sum, [classes].
        label: The current class.
        carried: The class whose sum `aside` is; `NO_CLASS` if it is that of the finished ones.
    """

    total: NDArray[np.float64]
    aside: NDArray[np.float64]
    current: NDArray[np.float64]
    directions: NDArray[np.floating]
    norms: Array
    label: int
    carried: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, to be saved."""
        return {
            "total": self.total,
            "aside": self.aside,
            "current": self.current,
            "directions": self.directions,
            "norms": self.norms,
            "class": np.array(self.label),
            "carried": np.array(self.carried),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, suffix: str) -> ParameterSumsState:
        """Return the state that was saved under names with this suffix.

        Raises:
            KeyError: If an array is missing.
        """
        return cls(
            total=arrays[f"total{suffix}"],
            aside=arrays[f"aside{suffix}"],
            current=arrays[f"current{suffix}"],
            directions=arrays[f"directions{suffix}"],
            norms=arrays[f"norms{suffix}"],
            label=int(arrays[f"class{suffix}"]),
            carried=int(arrays[f"carried{suffix}"]),
        )


class ParameterSums:
    """Adds up the gradients of one parameter, class by class and block by block; see `blocks`.

    Three sums are in memory. A class that lies in two blocks has a sum in each, and they are added up in the
    order of the blocks; so are the sums of the blocks' other classes. The additions are the same whether the
    blocks are measured one after the other or apart.

    Args:
        parameter: The parameter.
        projection: Its random projection.
        sketches: Array to write the sketch of each class's sum to, [classes, columns].
        directions: Zeros, [classes, numbers stored of a class's direction].

    Attributes:
        total: Sum over the finished classes of the blocks before, float64, shaped like the parameter.
        norms: Norm of each finished class's sum, [classes].
    """

    def __init__(
        self,
        parameter: Tensor,
        projection: Projection,
        sketches: Array,
        directions: Tensor,
    ) -> None:
        self.total = torch.zeros_like(parameter, dtype=torch.float64, device=directions.device)
        self.norms = np.zeros(len(directions))
        # the sum of the block's finished classes, or, until the class `_carried` ends, its sum in the blocks
        # before: never both at once, so that one array serves for both
        self._aside = torch.zeros_like(self.total)
        self._current = torch.zeros_like(self.total)
        self._parameter = parameter
        self._projection = projection
        self._sketches = sketches
        self._directions = directions
        self._class = NO_CLASS
        self._carried = NO_CLASS
        self._alone = False

    def state(self) -> ParameterSumsState:
        """Return what the sums hold; on a CPU it shares their memory."""
        return ParameterSumsState(
            total=self.total.cpu().numpy(),
            aside=self._aside.cpu().numpy(),
            current=self._current.cpu().numpy(),
            directions=self._directions.cpu().numpy(),
            norms=self.norms,
            label=self._class,
            carried=self._carried,
        )

    def restore(self, state: ParameterSumsState) -> None:
        """Continue from a state.

        Raises:
            ValueError: If it belongs to another parameter.
        """
        overwrite(self.norms, state.norms)
        self._class = state.label
        self._carried = state.carried
        _overwrite_tensor(self.total, state.total)
        _overwrite_tensor(self._aside, state.aside)
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
            self._leave(part.label)
            self._class = part.label
        self._current.add_(total.to(self._current.device), alpha=part.peak)

    def end_block(self, unfinished: int) -> None:
        """End a block.

        Args:
            unfinished: The class that goes on in the next block; `NO_CLASS` if none does.
        """
        if self._alone:
            if self._class != unfinished or self._carried != NO_CLASS:
                self._leave(NO_CLASS)
            return
        if self._class == unfinished and self._carried == NO_CLASS:
            # its sum is carried on, and no longer needs the array of the finished classes
            self.total += self._aside
            self._aside, self._current = self._current, self._aside.zero_()
            self._carried, self._class = unfinished, NO_CLASS
            return
        self._leave(unfinished)
        if self._carried == NO_CLASS:
            self.total += self._aside
            self._aside.zero_()

    def begin_alone(self, continued: int) -> None:
        """Measure one block alone; `part` returns it.

        Args:
            continued: The class that began in the block before; `NO_CLASS` if none did.
        """
        self._alone = True
        self._carried = continued

    def part(self, finished: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return what a block that was measured alone adds to the sums, once it has ended.

        Args:
            finished: The classes that lie in the block as a whole.

        Returns:
            Name → array; arrays of nothing but zeros may be missing.
        """
        parts = {"head": self.total, "middle": self._aside, "tail": self._current}
        arrays: dict[str, NDArray[Any]] = {
            name: part.cpu().numpy() for name, part in parts.items() if part.any()
        }
        if len(finished):
            arrays["directions"] = self._directions[finished].cpu().numpy()
            arrays["norms"] = self.norms[finished]
            arrays["sketches"] = self._sketches[finished]
        return arrays

    def fold(self, part: Arrays, classes: BlockClasses) -> None:
        """Add the next block, which was measured alone.

        Args:
            part: What `part` returned.
            classes: The classes of the block.

        Raises:
            KeyError: If an array is missing.
            ValueError: If one belongs to another parameter.
        """
        if classes.continued != NO_CLASS:
            self._carried = classes.continued
            self._add_saved(self._aside, part.get("head"))
        self._leave(classes.unfinished)
        if len(classes.finished):
            self.norms[classes.finished] = part["norms"]
            self._sketches[classes.finished] = part["sketches"]
            self._directions[classes.finished] = torch.from_numpy(part["directions"]).to(self._directions)
        if self._carried == NO_CLASS:
            self._add_saved(self.total, part.get("middle"))
            self._add_saved(self._aside, part.get("tail"))
            self._carried = classes.unfinished

    def _add_saved(self, target: Tensor, saved: NDArray[Any] | None) -> None:
        if saved is None:
            return
        if saved.shape != tuple(target.shape) or saved.dtype != np.float64:
            raise ValueError(f"{saved.dtype} {list(saved.shape)}, not float64 {list(target.shape)}")
        target += torch.from_numpy(saved).to(target.device)

    def _leave(self, following: int) -> None:
        """Finish the current class, and the one carried on from the block before if it is not the next one.

        Args:
            following: The class that follows; `NO_CLASS` if none does.
        """
        if self._class != NO_CLASS:
            if self._class != self._carried:
                self._finish(self._class, self._current)
            self._aside += self._current
            self._current.zero_()
            self._class = NO_CLASS
        if self._carried not in (NO_CLASS, following):
            if not self._alone:
                self._finish(self._carried, self._aside)
            self.total += self._aside
            self._aside.zero_()
            self._carried = NO_CLASS

    def _finish(self, label: int, total: Tensor) -> None:
        """Write norm, direction and sketch of a class's sum."""
        # direction and norm apart: float32 cannot hold a fitted class's sum, but its direction
        direction, norm = _direction(total)
        direction = direction.to(self._directions.dtype)
        self.norms[label] = norm
        # the sketch of the direction, scaled afterwards in float64: the sum itself may underflow in float32
        sketch = Dense(direction[None].to(self._parameter.device)).sketch(self._projection)[0]
        self._sketches[label] = norm * sketch.cpu().double().numpy()
        self._directions[label] = self._shortened(direction)

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
        gram: Array = cosines.numpy() * np.outer(self.norms, self.norms)
        return gram


def make_parameter_sums(
    parameter: Tensor, projection: Projection, sketches: Array, size: int
) -> ParameterSums:
    """Return sums of zero.

    Args:
        parameter: The parameter.
        projection: Its random projection.
        sketches: Array to write the sketch of each class's sum to, [classes, columns].
        size: Largest number of entries to store of each class's direction.
    """
    columns = len(projection.column_signs)
    # With a common divisor, entries of different rows collide only within a column or a few, and where
    # samples share their activations such collisions do not average out.
    while size < parameter.numel() and gcd(size, columns) > 1:
        size -= 1
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    directions = torch.zeros(len(sketches), size, dtype=dtype, device=sum_device(parameter))
    return ParameterSums(parameter, projection, sketches, directions)


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
