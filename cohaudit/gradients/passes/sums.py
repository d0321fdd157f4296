"""Exact gradient sums per class, with two gradients per parameter in memory: the class's and the total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
        class_squares: See `ClassSums`.
        sketches: See `ClassSums`.
        parameters: State of each parameter's sums, in their order.
    """

    class_squares: Array
    sketches: Array
    parameters: tuple[ParameterSumsState, ...]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, to be saved."""
        arrays: dict[str, NDArray[Any]] = {
            "class_squares": self.class_squares,
            "class_sketches": self.sketches,
        }
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
            class_squares=arrays["class_squares"],
            sketches=arrays["class_sketches"],
            parameters=tuple(
                ParameterSumsState.from_arrays(arrays, f"-{number}") for number in range(parameters)
            ),
        )


class ClassSums:
    """Sums of gradients over samples that arrive class by class, in float64.

    Args:
        layer_index: Parameter → position of its layer.
        class_squares: Zeros, [classes, layers].
        sketches: Zeros, [classes, columns].
        parameters: Parameter → its sums, which write to the two arrays.
        exact: Whether the whole directions of the classes' sums are stored.

    Attributes:
        class_squares: ‖Σ_{i in c} g_i^l‖², [classes, layers]; complete after `finish`.
        sketches: Sketch of each class's sum, [classes, columns]; likewise.
    """

    def __init__(
        self,
        layer_index: Mapping[str, int],
        class_squares: Array,
        sketches: Array,
        parameters: Mapping[str, ParameterSums],
        exact: bool,
    ) -> None:
        self.class_squares = class_squares
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
        return ClassSumsState(
            self.class_squares, self.sketches, tuple(sums.state() for sums in self._parameters.values())
        )

    def restore(self, arrays: Arrays) -> None:
        """Continue from a saved state.

        Args:
            arrays: What `ClassSumsState.arrays` returned.

        Raises:
            KeyError: If an array is missing.
            ValueError: If one belongs to other parameters.
        """
        state = ClassSumsState.from_arrays(arrays, len(self._parameters))
        # in place: the parameters' sums write to columns of these arrays
        overwrite(self.class_squares, state.class_squares)
        overwrite(self.sketches, state.sketches)
        for sums, saved in zip(self._parameters.values(), state.parameters, strict=True):
            sums.restore(saved)

    def finish(self) -> None:
        """Close the last class of each parameter."""
        for sums in self._parameters.values():
            sums.close()

    def total_squares(self) -> Array:
        """Return ‖Σ_i g_i^l‖², [layers]."""
        squares = np.zeros(self.class_squares.shape[1])
        for name, sums in self._parameters.items():
            squares[self._layer_index[name]] += sums.total.square().sum().item()
        return squares

    def gram(self) -> tuple[Array, float]:
        """Return the inner products of the classes' sums, and the standard error of a cosine among them.

        If sketches were stored, their error follows from the squared norms, which are known exactly: a
        sketched cosine has the error of a sketched squared norm over √2. It is at least 1 / √numbers, the
        least that sketches by independent signs can have, because the norm of a sparse sum comes out exact.
        """
        gram: Array = np.zeros((len(self.class_squares), len(self.class_squares)))
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
    class_squares = np.zeros((classes, max(layout.layer_index.values()) + 1))
    sketches = np.zeros((classes, layout.width))

    def each() -> Iterator[tuple[str, ParameterSums]]:
        for name, parameter in parameters.items():
            yield (
                name,
                make_parameter_sums(
                    parameter,
                    layout.projections[name],
                    class_squares[:, layout.layer_index[name]],
                    sketches[:, layout.columns[name]],
                    max(1, int(share * parameter.numel())),
                ),
            )

    return ClassSums(layout.layer_index, class_squares, sketches, dict(each()), exact=share == 1)
