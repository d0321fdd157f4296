"""Exact gradient sums per class, with two gradients per parameter in memory: the class's and the total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.passes.blocks import BlockClasses
from cohaudit.gradients.passes.layout import Layout
from cohaudit.gradients.passes.parameter_sums import (
    ParameterSums,
    ParameterSumsState,
    make_parameter_sums,
)
from cohaudit.gradients.passes.reading import ClassSlice
from cohaudit.gradients.passes.resume_protocol import Arrays
from cohaudit.gradients.saved_arrays import overwrite

Array = NDArray[np.float64]

DIRECTION_BYTES = 4
"""Bytes of one number of a class sum's direction, which is stored in float32."""


@dataclass(frozen=True)
class ClassSumsState:
    """All that has been added up, between two batches.

    Attributes:
        sketches: See `ClassSums`.
        parameters: State of each parameter's sums, in their order.
    """

    sketches: Array
    parameters: tuple[ParameterSumsState, ...]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, to be saved."""
        arrays: dict[str, NDArray[Any]] = {"class_sketches": self.sketches}
        for number, parameter in enumerate(self.parameters):
            arrays |= {f"{name}-{number}": array for name, array in parameter.arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, parameters: int) -> ClassSumsState:
        """Return the state that was saved as these arrays.

        Raises:
            KeyError: If an array is missing.
        """
        return cls(
            sketches=arrays["class_sketches"],
            parameters=tuple(
                ParameterSumsState.from_arrays(arrays, f"-{number}") for number in range(parameters)
            ),
        )


class ClassSums:
    """Sums of gradients over samples that arrive class by class, in float64.

    Args:
        layer_index: Parameter → position of its layer.
        sketches: Zeros, [classes, columns].
        parameters: Parameter → its sums, which write to that array.
        exact: Whether the whole directions of the classes' sums are stored.

    Attributes:
        sketches: Sketch of each class's sum, [classes, columns]; complete after the last block.
    """

    def __init__(
        self,
        layer_index: Mapping[str, int],
        sketches: Array,
        parameters: Mapping[str, ParameterSums],
        exact: bool,
    ) -> None:
        self.sketches = sketches
        self._layer_index = layer_index
        self._parameters = parameters
        self._exact = exact

    def add(self, name: str, part: ClassSlice, total: Tensor) -> None:
        """Add some samples of one class, for one parameter.

        Args:
            name: Parameter name.
            part: The samples; their class does not come before that of samples added earlier.
            total: Sum of their gradients over `part.peak`.
        """
        self._parameters[name].add(part, total)

    def state(self) -> ClassSumsState:
        """Return all that has been added up, between two batches; on a CPU it shares the sums' memory."""
        return ClassSumsState(self.sketches, tuple(sums.state() for sums in self._parameters.values()))

    def restore(self, arrays: Arrays) -> None:
        """Continue from a saved state.

        Args:
            arrays: What `ClassSumsState.arrays` returned.

        Raises:
            KeyError: If an array is missing.
            ValueError: If one belongs to other parameters.
        """
        state = ClassSumsState.from_arrays(arrays, len(self._parameters))
        # in place: the parameters' sums write to columns of this array
        overwrite(self.sketches, state.sketches)
        for sums, saved in zip(self._parameters.values(), state.parameters, strict=True):
            sums.restore(saved)

    def end_block(self, unfinished: int) -> None:
        """End a block; see `ParameterSums.end_block`."""
        for sums in self._parameters.values():
            sums.end_block(unfinished)

    def begin_alone(self, continued: int) -> None:
        """Measure one block alone; see `ParameterSums.begin_alone`."""
        for sums in self._parameters.values():
            sums.begin_alone(continued)

    def part(self, finished: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return what a block that was measured alone adds to the sums; see `ParameterSums.part`."""
        return {
            f"{name}-{number}": array
            for number, sums in enumerate(self._parameters.values())
            for name, array in sums.part(finished).items()
        }

    def fold(self, arrays: Arrays, classes: BlockClasses) -> None:
        """Add the next block, which was measured alone.

        Args:
            arrays: What `part` returned.
            classes: The classes of the block.

        Raises:
            KeyError: If an array is missing.
            ValueError: If one belongs to other parameters.
        """
        for number, sums in enumerate(self._parameters.values()):
            own = {
                name.removesuffix(f"-{number}"): array
                for name, array in arrays.items()
                if name.endswith(f"-{number}")
            }
            sums.fold(own, classes)

    @property
    def class_squares(self) -> Array:
        """‖Σ_{i in c} g_i^l‖², [classes, layers]; complete after the last block."""
        squares = np.zeros((len(self.sketches), self._layers))
        # in the order of the parameters, not in that of the batches: the same bits however they are measured
        for name, sums in self._parameters.items():
            squares[:, self._layer_index[name]] += sums.norms**2
        return squares

    @property
    def _layers(self) -> int:
        return max(self._layer_index.values()) + 1

    def total_squares(self) -> Array:
        """Return ‖Σ_i g_i^l‖², [layers]."""
        squares = np.zeros(self._layers)
        for name, sums in self._parameters.items():
            squares[self._layer_index[name]] += sums.total.square().sum().item()
        return squares

    def gram(self) -> tuple[Array, float]:
        """Return the inner products of the classes' sums, and the standard error of a cosine among them.

        If sketches were stored, their error follows from the squared norms, which are known exactly: a
        sketched cosine has the error of a sketched squared norm over √2. It is at least 1 / √numbers, the
        least that sketches by independent signs can have, because the norm of a sparse sum comes out exact.
        """
        gram: Array = np.zeros((len(self.sketches), len(self.sketches)))
        for sums in self._parameters.values():
            gram += sums.gram()
        if self._exact:
            return gram, 0.0
        # the diagonal is known exactly, and tells how far the sketched one is off
        exact = self.class_squares.sum(1)
        nonzero = exact > 0
        if not nonzero.any():
            return gram, 0.0
        relative = np.diag(gram)[nonzero] / exact[nonzero] - 1
        numbers = sum(sums.numbers for sums in self._parameters.values())
        return gram, max(float(np.sqrt(np.mean(relative**2) / 2)), numbers**-0.5)


def make_class_sums(parameters: Mapping[str, Tensor], layout: Layout, classes: int, memory: int) -> ClassSums:
    """Return sums of zero.

    Args:
        parameters: Name → parameter.
        layout: Layers, columns and projections.
        classes: Number of classes.
        memory: Bytes that the directions of all classes' sums may take together. They give the cosines
            between the sums: exact ones if whole directions fit, else by the longest sketches that fit.
    """
    entries = sum(parameter.numel() for parameter in parameters.values())
    # the same share of every parameter, so that none dominates the error
    share = min(1.0, memory / (DIRECTION_BYTES * classes * entries))
    sketches = np.zeros((classes, layout.width))

    def each() -> Iterator[tuple[str, ParameterSums]]:
        for name, parameter in parameters.items():
            yield (
                name,
                make_parameter_sums(
                    parameter,
                    layout.projections[name],
                    sketches[:, layout.columns[name]],
                    max(1, int(share * parameter.numel())),
                ),
            )

    return ClassSums(layout.layer_index, sketches, dict(each()), exact=share == 1)
