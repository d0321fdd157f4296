"""What the gradient pass measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.features import View
from cohaudit.gradients.sketch import SKETCH_BLOCK_ROWS
from cohaudit.gradients.tracing.plan import Path
from cohaudit.results import Certificate, Skipped

Array = NDArray[np.float64]


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


@dataclass(frozen=True)
class Measurement:
    """What the pass measured; N samples, L layers, C classes.

    Attributes:
        layers: The layers, input side first.
        squared_norms: ‖g_i^l‖², [N, L].
        class_squares: ‖Σ_{i in c} g_i^l‖², [C, L].
        total_squares: ‖Σ_i g_i^l‖², [L].
        class_gram: ⟨Σ_{i in c} g_i, Σ_{i in d} g_i⟩, [C, C].
        class_gram_error: Standard error of a cosine in it; 0 when whole gradients were used.
        sketches: Sketch of g_i / scale_i, float32 [N, columns].
        scale: Norm of the residual, [N].
        views: Inputs of a few layers, input side first; empty if no layer receives floating point numbers.
        loss: Cross-entropy at temperature 1, in nats, [N].
        margin: Logit of the label minus the largest other one, [N].
        predicted: Class with the largest logit, int64 [N].
        probability: Probability of each class at temperature 1, float32 [N, C].
        certificate: Checks that the run passed.
        notices: What the reader must know about how it was measured.
        skipped: Parameters that were not measured, and why.
        jacobian_sketches: Sketch of each sample's gradient of one random combination of the logits, the same
            for all samples, float32 [N, columns]; None unless `Options.label_free`.
        activations: Layer → its input, averaged over positions, float32 [N, any]; empty unless
            `Options.label_free`.
    """

    layers: tuple[MeasuredLayer, ...]
    squared_norms: Array
    class_squares: Array
    total_squares: Array
    class_gram: Array
    class_gram_error: float
    sketches: NDArray[np.float32]
    scale: Array
    views: tuple[View, ...]
    loss: Array
    margin: Array
    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]
    certificate: Certificate
    notices: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    jacobian_sketches: NDArray[np.float32] | None
    activations: Mapping[str, NDArray[np.float32]]

    def mean_gradient(self) -> tuple[Array, float]:
        """Return the sketch of the mean gradient, divided by the largest norm of a residual, and that norm.

        Gradients of a well fitted network are so small that their squares are zero even in float64; divided
        by that norm they are not.
        """
        # 1 if all are zero: residuals of fitted samples can underflow even in float64
        peak = float(self.scale.max(initial=0.0)) or 1.0
        scale = self.scale / peak
        total = np.zeros(self.sketches.shape[1])
        # block by block: the sketches may lie in a file that is larger than memory
        for start in range(0, len(scale), SKETCH_BLOCK_ROWS):
            block = slice(start, start + SKETCH_BLOCK_ROWS)
            total += scale[block] @ np.asarray(self.sketches[block], dtype=np.float64)
        return total / len(scale), peak

    def dot(self, direction: Array) -> Array:
        """Return ⟨g_i, direction⟩ by sketches, [N].

        Args:
            direction: Sketch of a direction, [columns].
        """
        starts = range(0, len(self.scale), SKETCH_BLOCK_ROWS)
        products = [
            np.asarray(self.sketches[start : start + SKETCH_BLOCK_ROWS]) @ direction for start in starts
        ]
        return self.scale * np.concatenate(products)
