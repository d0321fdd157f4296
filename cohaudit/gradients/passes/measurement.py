"""What the gradient pass is told, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.features import View
from cohaudit.gradients.tracing.plan import Path
from cohaudit.results import Certificate, Skipped

Array = NDArray[np.float64]

BLOCK = 4096
"""Sketches in memory at once where they lie in a file."""


@dataclass(frozen=True)
class Options:
    """How to measure; see `Config` for units and reasons.

    With `label_free`, `Measurement.jacobian_sketches` and `activations` are measured too.
    """

    batch_size: int
    temperature: float
    sketch_size: int
    sketch_memory: int
    feature_size: int
    class_memory: int
    certificate_samples: int
    certificate_tolerance: float
    seed: int
    label_free: bool = False
    bf16: bool = False


@dataclass(frozen=True)
class MeasuredLayer:
    """One layer: name, type, trainable parameters, how it was measured, its columns in the sketches."""

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
        views: How a few layers see the samples, input side first; empty when no layer gets numbers.
        loss: [N], nats.
        margin: Logit of the label minus the largest other one, [N].
        predicted: int64 [N].
        probability: Of each class at temperature 1, float32 [N, C].
        certificate: What was checked.
        notices: What the reader must know of how it was measured.
        skipped: What was not measured.
        jacobian_sketches: Sketch of each sample's gradient of one random combination of the logits, the same
            for all, float32 [N, columns]; None unless asked for.
        activations: Layer → its input, averaged over positions, float32 [N, any]; empty unless asked for.
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
        """Return the sketch of the mean gradient over the largest residual's norm, and that norm.

        Squares of a well fitted network's gradients are zero even in float64; over that norm they are not.
        """
        peak = float(self.scale.max(initial=0.0)) or 1.0
        scale = self.scale / peak
        total = np.zeros(self.sketches.shape[1])
        for start in range(0, len(scale), BLOCK):
            part = slice(start, start + BLOCK)
            total += scale[part] @ np.asarray(self.sketches[part], dtype=np.float64)
        return total / len(scale), peak

    def dot(self, direction: Array) -> Array:
        """Return ⟨g_i, direction⟩ by sketches, [N].

        Args:
            direction: Sketch of it, [columns].
        """
        starts = range(0, len(self.scale), BLOCK)
        products = [np.asarray(self.sketches[start : start + BLOCK]) @ direction for start in starts]
        return self.scale * np.concatenate(products)
