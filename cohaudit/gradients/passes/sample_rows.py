"""The arrays of a pass that have a row per sample; large sketches lie in a temporary file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.arrays import allocate, release
from cohaudit.gradients.residuals import Residuals

Array = NDArray[np.float64]

BYTES_PER_MIB = 2**20
"""Bytes in a MiB, the unit of memory options."""


@dataclass(frozen=True)
class ScoreRows:
    """What a forward pass tells of each sample; N samples.

    Attributes:
        scale: Norm of the residual, [N].
        loss: Cross-entropy at temperature 1, in nats, [N].
        margin: Logit of the label minus the largest other one, [N].
        predicted: int64 [N].
        probability: Probability of each class at temperature 1, float32 [N, classes].
        bound: A bound of the gradient's norm, [N]; zeros where none was found.
    """

    scale: Array
    loss: Array
    margin: Array
    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]
    bound: Array

    def store(self, indices: NDArray[np.int64], residuals: Residuals) -> None:
        """Store what was measured of some samples.

        Args:
            indices: Indices of the samples.
            residuals: Residuals and scores of the samples.
        """
        self.scale[indices] = residuals.scale.numpy()
        self.loss[indices] = residuals.loss.numpy()
        self.margin[indices] = residuals.margin.numpy()
        self.predicted[indices] = residuals.predicted.numpy()
        self.probability[indices] = residuals.probability.float().numpy()
        release(self.probability)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, under the names that they are saved by."""
        return {
            "scale": self.scale,
            "loss": self.loss,
            "margin": self.margin,
            "predicted": self.predicted,
            "probability": self.probability,
            "bound": self.bound,
        }


@dataclass(frozen=True)
class GradientRows:
    """What is recorded of each sample's gradient; N samples, L layers.

    Attributes:
        squared_norms: ‖g_i^l‖², [N, L].
        unit_norms: ‖g_i^l‖ / scale_i, [N, L].
        sketches: Sketch of g_i / scale_i, float32 [N, columns].
        jacobian_sketches: Sketches of the label-free gradients, float32 [N, columns]; None if not measured.
    """

    squared_norms: Array
    unit_norms: Array
    sketches: NDArray[np.float32]
    jacobian_sketches: NDArray[np.float32] | None

    def store(self, indices: NDArray[np.int64], squares: Tensor, scale: Tensor) -> None:
        """Store the norms of some samples; sketches are stored parameter by parameter.

        Args:
            indices: Indices of the samples.
            squares: Squared norms of the unit residual's gradients, float64 [samples, L].
            scale: Norm of each residual, float64 [samples].
        """
        # the norm is stored beside the square, which is zero where the scale is below 1e-154
        self.unit_norms[indices] = squares.sqrt().numpy()
        self.squared_norms[indices] = (squares * scale.square()[:, None]).numpy()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return name → array, under the names that they are saved by."""
        arrays: dict[str, NDArray[Any]] = {
            "squared_norms": self.squared_norms,
            "unit_norms": self.unit_norms,
            "sketches": self.sketches,
        }
        if self.jacobian_sketches is not None:
            arrays["jacobian_sketches"] = self.jacobian_sketches
        return arrays


def allocate_scores(samples: int, classes: int) -> ScoreRows:
    """Return scores of zero."""
    return ScoreRows(
        scale=np.zeros(samples),
        loss=np.zeros(samples),
        margin=np.zeros(samples),
        predicted=np.zeros(samples, dtype=np.int64),
        probability=allocate(samples, classes, f"the model's answers to {samples:,} samples"),
        bound=np.zeros(samples),
    )


def allocate_gradients(
    samples: int, layers: int, *, columns: int, sketch_memory: int, label_free: bool
) -> GradientRows:
    """Return arrays of zeros.

    Args:
        samples: Number of samples.
        layers: Number of layers.
        columns: Columns of the sketches.
        sketch_memory: MiB of sketches that stay in memory.
        label_free: Whether the label-free gradients are measured too; both share the memory.

    Raises:
        EngineError: If the disk has no room for the sketches.
    """
    memory = sketch_memory * BYTES_PER_MIB // (1 + label_free)
    return GradientRows(
        squared_norms=np.zeros((samples, layers)),
        unit_norms=np.zeros((samples, layers)),
        sketches=allocate_sketches(samples, columns, memory),
        jacobian_sketches=allocate_sketches(samples, columns, memory) if label_free else None,
    )


def allocate_sketches(rows: int, columns: int, memory: int) -> NDArray[np.float32]:
    """Return an array of zeros, [rows, columns], in a file if it takes more than `memory` bytes.

    The file has no name where the system allows that: it disappears with the array, however the run ends.

    Raises:
        EngineError: If the disk has no room for it.
    """
    return allocate(
        rows,
        columns,
        f"the sketches of {rows:,} samples",
        ", lower --sketch-size, or raise --sketch-memory",
        memory,
    )
