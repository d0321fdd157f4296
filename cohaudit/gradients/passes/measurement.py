"""What the gradient pass measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.drawing import relative_error
from cohaudit.gradients.features import View
from cohaudit.gradients.sketch import SKETCH_BLOCK_ROWS
from cohaudit.gradients.tracing.plan import Path
from cohaudit.results import Certificate, Skipped

Array = NDArray[np.float64]

ALL_ROWS = slice(None)
"""Every sample whose gradient was measured."""


@dataclass(frozen=True)
class MeasuredLayer:
    """One layer.

    Attributes:
        name: Layer name.
        kind: Class of its module.
        parameters: Number of its trainable parameters.
        path: How it was measured.
        columns: Its columns in the sketches.
    """

    name: str
    kind: str
    parameters: int
    path: Path
    columns: slice


@dataclass(frozen=True, kw_only=True)
class ForwardResult:
    """What a pass tells of every sample without its gradient; N samples, C classes.

    Attributes:
        layers: The layers, input side first.
        scale: Norm of the residual, [N].
        bound: A bound of the norm of the gradient, [N]; zeros where none was found.
        views: Inputs of a few layers, input side first; empty if no layer receives floating point numbers.
        loss: Cross-entropy at temperature 1, in nats, [N].
        margin: Logit of the label minus the largest other one, [N].
        predicted: Class with the largest logit, int64 [N].
        probability: Probability of each class at temperature 1, float32 [N, C].
        skipped: Parameters that were not measured, and why.
    """

    layers: tuple[MeasuredLayer, ...]
    scale: Array
    bound: Array
    views: tuple[View, ...]
    loss: Array
    margin: Array
    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class GradientSums:
    """Sums of the classes' gradients; L layers, C classes.

    Attributes:
        class_squares: ‖Σ_{i in c} g_i^l‖², [C, L].
        class_sketches: Sketch of each class's sum, [C, columns].
        total_squares: ‖Σ_i g_i^l‖², [L].
        class_gram: ⟨Σ_{i in c} g_i, Σ_{i in d} g_i⟩, [C, C].
        class_gram_error: Standard error of a cosine in it; 0 when whole gradients were used.
    """

    class_squares: Array
    class_sketches: Array
    total_squares: Array
    class_gram: Array
    class_gram_error: float


@dataclass(frozen=True, kw_only=True)
class Measurement(ForwardResult, GradientSums):
    """What was measured of the samples' gradients; N samples, n of them one by one, L layers, C classes.

    Attributes:
        drawn: Indices of the samples whose gradients were measured one by one, rising, int64 [n]; all of them
            after `measure`.
        weight: How many samples each of these stands for, [n]; 1 if all were measured.
        squared_norms: ‖g_i^l‖² of these samples, [n, L].
        sketches: Sketch of g_i / scale_i of these samples, float32 [n, columns].
        exact_sums: Whether the classes' sums are over all samples, or estimated from those that were drawn.
        certificate: Checks that the run passed.
        notices: What the reader must know about how it was measured.
        jacobian_sketches: Sketch of each sample's gradient of one random combination of the logits, the same
            for all samples, float32 [n, columns]; None unless `Options.label_free`.
        activations: Layer → its input, averaged over positions, float32 [n, any]; empty unless
            `Options.label_free`.
    """

    drawn: NDArray[np.int64]
    weight: Array
    squared_norms: Array
    sketches: NDArray[np.float32]
    exact_sums: bool = True
    certificate: Certificate
    notices: tuple[str, ...]
    jacobian_sketches: NDArray[np.float32] | None
    activations: Mapping[str, NDArray[np.float32]]

    @property
    def complete(self) -> bool:
        """Whether every sample's gradient was measured."""
        return len(self.drawn) == len(self.scale)

    def energy(self, rows: NDArray[np.int64] | slice = ALL_ROWS) -> Array:
        """Return Σ‖g_i^l‖² over the samples that these rows stand for, [L].

        Args:
            rows: Rows of `squared_norms`; all, or those of a class.
        """
        squares = self.squared_norms[rows]
        energy: Array = squares.sum(0) if self.complete else self.weight[rows] @ squares
        return energy

    def energy_error(self, rows: NDArray[np.int64] | slice = ALL_ROWS) -> Array:
        """Return the relative standard error of `energy`, then of its total, [L + 1]; 0 if all were measured.

        Args:
            rows: Rows of `squared_norms`; all, or those of a class.
        """
        squares = self.squared_norms[rows]
        parts = np.concatenate([squares, squares.sum(1, keepdims=True)], 1)
        return relative_error(parts, self.weight[rows])

    def mean_gradient(self) -> tuple[Array, float]:
        """Return the sketch of the mean gradient, divided by the largest norm of a residual, and that norm.

        Gradients of a well fitted network are so small that their squares are zero even in float64; divided
        by that norm they are not.
        """
        # 1 if all are zero: residuals of fitted samples can underflow even in float64
        peak = float(self.scale.max(initial=0.0)) or 1.0
        if not self.complete:
            return self.class_sketches.sum(0) / peak / len(self.scale), peak
        scale = self.scale / peak
        total = np.zeros(self.sketches.shape[1])
        # block by block: the sketches may lie in a file that is larger than memory
        for start in range(0, len(scale), SKETCH_BLOCK_ROWS):
            block = slice(start, start + SKETCH_BLOCK_ROWS)
            total += scale[block] @ np.asarray(self.sketches[block], dtype=np.float64)
        return total / len(scale), peak

    def dot(self, direction: Array) -> Array:
        """Return ⟨g_i, direction⟩ by sketches, for the samples measured one by one, [n].

        Args:
            direction: Sketch of a direction, [columns].
        """
        starts = range(0, len(self.drawn), SKETCH_BLOCK_ROWS)
        products = [
            np.asarray(self.sketches[start : start + SKETCH_BLOCK_ROWS]) @ direction for start in starts
        ]
        return self.scale[self.drawn] * np.concatenate(products)
