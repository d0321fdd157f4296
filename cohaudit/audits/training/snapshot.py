"""Snapshot of one checkpoint of a training run, measured by one pass over the data.

A snapshot is small, a few numbers per sample, layer and class, so that it can be cached (`snapshot_cache`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.analysis.coherence import pairwise_coherence
from cohaudit.analysis.expected_score import expected_accuracy
from cohaudit.analysis.leave_one_out import leave_one_out, suspect_labels_by
from cohaudit.audits.optimizer_state import OptimizerProgress
from cohaudit.gradients import FeatureHasher, Measurement

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

WEIGHT_SKETCH_SIZE = 2048
"""Length of the sketch of all weights: it keeps distances between checkpoints to within 3 %."""

CLEAR_DISPUTE = 0.5
"""Expected probability by which another label leads the given one where it counts as corrected."""


@dataclass(frozen=True)
class Snapshot:
    """Measurements of one checkpoint; N samples, L layers, C classes.

    Attributes:
        probability: The model's probability of each class, float32 [N, C].
        corrected: Given labels, with those more likely wrong than right replaced by the suggested ones, [N].
        memorization: Memorization of each sample, 0 to 1, [N].
        share: ⟨g_i, μ⟩ / Σ_j ⟨g_j, μ⟩ by sketches: share of the mean gradient that each sample owns, [N].
        expected: Expected accuracy on new data.
        loss: Mean training loss, in nats.
        coherence: α of the whole gradient.
        layers: α_u of each layer, NaN for one without a gradient, [L].
        classes: α_u of each class, NaN for one without a gradient, [C].
        largest: Largest ‖g_i‖.
        mean: Sketch of the mean gradient, [any].
        weights: Sketch of the weights that keeps distances, [any].
        step: Gradient steps made, by the optimizer's state; −1 if unknown.
        rate: Learning rate, by the optimizer's state; NaN if unknown.
        holdout_accuracy: Accuracy on the holdout; NaN without one.
        holdout_loss: Mean loss on the holdout, in nats; NaN without one.
    """

    probability: NDArray[np.float32]
    corrected: Integers
    memorization: Array
    share: Array
    expected: float
    loss: float
    coherence: float
    layers: Array
    classes: Array
    largest: float
    mean: Array
    weights: Array
    step: int
    rate: float
    holdout_accuracy: float
    holdout_loss: float

    @property
    def predicted(self) -> Integers:
        """The model's predictions, [N]."""
        predicted: Integers = self.probability.argmax(1)
        return predicted

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return field name → array, for an .npz file; a number becomes an array of no dimension."""
        return {
            "probability": self.probability,
            "corrected": self.corrected,
            "memorization": self.memorization,
            "share": self.share,
            "expected": np.array(self.expected),
            "loss": np.array(self.loss),
            "coherence": np.array(self.coherence),
            "layers": self.layers,
            "classes": self.classes,
            "largest": np.array(self.largest),
            "mean": self.mean,
            "weights": self.weights,
            "step": np.array(self.step),
            "rate": np.array(self.rate),
            "holdout_accuracy": np.array(self.holdout_accuracy),
            "holdout_loss": np.array(self.holdout_loss),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Snapshot:
        """Return the snapshot that `to_arrays` turned into arrays.

        Raises:
            KeyError: If a field is missing.
            TypeError: If an array stands where a number belongs.
        """
        return cls(
            probability=arrays["probability"],
            corrected=arrays["corrected"],
            memorization=arrays["memorization"],
            share=arrays["share"],
            expected=float(arrays["expected"]),
            loss=float(arrays["loss"]),
            coherence=float(arrays["coherence"]),
            layers=arrays["layers"],
            classes=arrays["classes"],
            largest=float(arrays["largest"]),
            mean=arrays["mean"],
            weights=arrays["weights"],
            step=int(arrays["step"]),
            rate=float(arrays["rate"]),
            holdout_accuracy=float(arrays["holdout_accuracy"]),
            holdout_loss=float(arrays["holdout_loss"]),
        )


def snapshot_of(
    measured: Measurement,
    model: nn.Module,
    labels: Integers,
    *,
    progress: OptimizerProgress,
    holdout: tuple[float, float],
    seed: int,
) -> Snapshot:
    """Return the snapshot of a measured checkpoint.

    If no layer represents the samples, labels cannot be predicted: none is corrected, the memorization is 0,
    and the expected accuracy is NaN.

    Args:
        measured: Result of the gradient pass.
        model: The network with the checkpoint's weights.
        labels: Given labels, [N].
        progress: Steps and learning rate of its optimizer.
        holdout: Accuracy and mean loss on the holdout; NaN without one.
        seed: Seed of the sketches.
    """
    scores = [leave_one_out(v.rows, labels, measured.probability.shape[1]).scores for v in measured.views]
    peers = peer_prediction(scores, labels, measured.probability)
    # relative to the largest residual: squares of a well fitted network's gradients would vanish
    mean, peak = measured.mean_gradient()
    owned = measured.dot(mean)
    return Snapshot(
        probability=measured.probability,
        corrected=peers.corrected,
        memorization=peers.memorization,
        # all gradients can be zero: no sample owns a share then
        share=owned / (float(owned.sum()) or 1.0),
        expected=peers.expected,
        loss=float(measured.loss.mean()),
        coherence=_coherence(measured),
        layers=_pairwise(measured.total_squares, measured.squared_norms.sum(0), len(labels)),
        classes=_class_coherence(measured, labels),
        largest=float(np.sqrt(measured.squared_norms.sum(1).max())),
        # in its own units again: the means of two checkpoints are compared
        mean=mean * peak,
        weights=_weights(model, seed),
        step=progress.steps,
        rate=progress.rate,
        holdout_accuracy=holdout[0],
        holdout_loss=holdout[1],
    )


@dataclass(frozen=True)
class PeerPrediction:
    """What the other samples predict at a checkpoint.

    Attributes:
        corrected: Corrected labels, as in `Snapshot`, [N].
        memorization: Memorization of each sample, as in `Snapshot`, [N].
        expected: Expected accuracy on new data.
    """

    corrected: Integers
    memorization: Array
    expected: float


def peer_prediction(
    scores: Sequence[Array], labels: Integers, probability: NDArray[np.float32]
) -> PeerPrediction:
    """Return which labels the other samples correct, and the accuracy to expect on new data.

    Args:
        scores: Leave-one-out scores of each layer's view, input side first, [N, C] each; possibly none.
        labels: Given labels, [N].
        probability: The model's probability of each class, [N, C].
    """
    if not scores:
        return PeerPrediction(labels, np.zeros(len(labels)), math.nan)
    found = suspect_labels_by(scores, labels, probability)
    predicted: Integers = probability.argmax(1)
    # the raw data have no part in it: what they say is the same at every checkpoint
    support = float(found.expected[np.arange(len(labels)), predicted].mean())
    # no label is accused here: those count that the others clearly dispute, told or not
    corrected = np.where(found.margin <= -CLEAR_DISPUTE, found.suggested, labels)
    return PeerPrediction(corrected, found.memorization, expected_accuracy(support, outside=False))


def _coherence(measured: Measurement) -> float:
    """Return α of the whole gradient, 0 without one, from the exact sums, not the sketches."""
    sums = float(measured.total_squares.sum())
    squares = float(measured.squared_norms.sum())
    return sums / squares / len(measured.loss) if squares else 0.0


def _pairwise(sums: Array, squares: Array, samples: int) -> Array:
    """Return α_u of each part, NaN for one without a gradient, from ‖Σg_i‖² and Σ‖g_i‖² of each, [any]."""
    coherences = [
        pairwise_coherence(float(a), float(b), samples) if b > 0 and samples > 1 else np.nan
        for a, b in zip(sums, squares, strict=True)
    ]
    return np.array(coherences)


def _class_coherence(measured: Measurement, labels: Integers) -> Array:
    """Return α_u of each class, NaN for one without a gradient, [C]."""
    squares = measured.squared_norms.sum(1)
    sizes = np.bincount(labels, minlength=len(measured.class_squares))
    energy = np.bincount(labels, squares, len(sizes)).astype(np.float64)
    sums = measured.class_squares.sum(1)
    return np.array(
        [_pairwise(sums[c : c + 1], energy[c : c + 1], int(sizes[c]))[0] for c in range(len(sizes))]
    )


def _weights(model: nn.Module, seed: int) -> Array:
    """Return a sketch of all trainable weights, [WEIGHT_SKETCH_SIZE]."""
    weights = [p.detach().flatten().cpu().double() for p in model.parameters() if p.requires_grad]
    sketch: Array = FeatureHasher(WEIGHT_SKETCH_SIZE, seed)(torch.cat(weights)[None])[0].numpy()
    return sketch
