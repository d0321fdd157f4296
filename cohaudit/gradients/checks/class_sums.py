"""Whether the class sums of a run agree with the sketches of its samples: of all, or of those drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.gradients.sketch import SKETCH_BLOCK_ROWS

Array = NDArray[np.float64]

EXPLAINED_DEVIATIONS = 6.0
"""Standard errors of a drawn sum that its distance from the exact one may have: a normal number exceeds them
once in 500 million."""

SMALLEST_CLASS_DRAWN = 30
"""Samples drawn of a class from which its own sum is checked: of fewer, the standard error is not known."""


@dataclass(frozen=True)
class SketchedSamples:
    """The samples of a run; N samples, L layers.

    Attributes:
        labels: int64 [N].
        scale: Norm of the residual, [N].
        sketches: Sketch of g_i / scale_i, float32 [N, columns].
        unit_norms: ‖g_i^l‖ / scale_i, [N, L].
        layer_columns: Columns of each layer.
    """

    labels: NDArray[np.int64]
    scale: Array
    sketches: NDArray[np.float32]
    unit_norms: Array
    layer_columns: Sequence[slice]


def class_sum_errors(samples: SketchedSamples, class_sketches: Array) -> Array:
    """Return how far the class sums are from the samples' sketches, per layer and class, [classes, L].

    A sketch is linear: the sketch of a class's sum is the sum of its samples' sketches. So every sample of
    the run is checked, where the certificate's other comparisons check a few. The error is
    ‖sketch(Σ g_i) − Σ sketch(g_i)‖ / Σ‖g_i‖.

    Args:
        samples: The samples.
        class_sketches: Sketch of each class's sum, [classes, columns].
    """
    labels = samples.labels
    classes = len(class_sketches)
    # relative to the largest scale of the class: gradients of fitted samples underflow in float32
    peaks = np.full(classes, SMALLEST_FLOAT64)
    np.maximum.at(peaks, labels, samples.scale)
    relative = (samples.scale / peaks[labels]).astype(np.float32)
    totals = np.zeros((classes, samples.sketches.shape[1]))
    for start in range(0, len(labels), SKETCH_BLOCK_ROWS):
        block = slice(start, start + SKETCH_BLOCK_ROWS)
        # in float32 like the sketches: numpy would convert the whole block otherwise
        weights = np.zeros((classes, len(labels[block])), dtype=np.float32)
        weights[labels[block], np.arange(weights.shape[1])] = relative[block]
        totals += weights @ np.asarray(samples.sketches[block])
    lengths = np.zeros((classes, len(samples.layer_columns)))
    np.add.at(lengths, labels, samples.unit_norms * relative[:, None])
    # both sums relative to the peak of their class, so that they can be subtracted
    differences = class_sketches / peaks[:, None] - totals
    errors = [
        np.linalg.norm(differences[:, columns], axis=1) / np.maximum(lengths[:, k], SMALLEST_FLOAT64)
        for k, columns in enumerate(samples.layer_columns)
    ]
    return np.stack(errors, 1)


def sketched_norms(sketches: NDArray[np.float32], layer_columns: Sequence[slice]) -> Array:
    """Return the norm of each layer's part of some sketches, about that of the gradient's, [rows, L].

    Args:
        sketches: Sketch of g_i / scale_i, [rows, columns]; possibly in a file.
        layer_columns: Columns of each layer.
    """
    starts = range(0, len(sketches), SKETCH_BLOCK_ROWS)
    blocks = [np.asarray(sketches[start : start + SKETCH_BLOCK_ROWS]) for start in starts]
    rows = [
        np.stack([np.linalg.norm(block[:, part].astype(np.float64), axis=1) for part in layer_columns], 1)
        for block in blocks
    ]
    return np.concatenate(rows)


@dataclass(frozen=True)
class DrawnSamples:
    """Samples drawn from a run, whose gradients were measured one by one; n samples, L layers.

    Attributes:
        labels: int64 [n].
        weight: How many samples each stands for, [n].
        scale: Norm of the residual, [n].
        sketches: Sketch of g_i / scale_i, float32 [n, columns].
        layer_columns: Columns of each layer.
    """

    labels: NDArray[np.int64]
    weight: Array
    scale: Array
    sketches: NDArray[np.float32]
    layer_columns: Sequence[slice]


def drawn_sum_errors(samples: DrawnSamples, class_sketches: Array) -> Array:
    """Return how far the sums are from those that the drawn samples tell, beyond what the draw explains.

    Σ w_i g_i over the drawn samples has a squared distance from the sum over all of Σ w_i (w_i − 1) ‖g_i‖² on
    average, if samples are drawn independently; in a systematic draw it is smaller. The error is the rest of
    ‖sketch(Σ g_i) − Σ w_i sketch(g_i)‖ beyond `EXPLAINED_DEVIATIONS` of its root, over Σ w_i ‖g_i‖: of all
    samples, and of each class of which enough were drawn, the largest.

    Args:
        samples: The samples.
        class_sketches: Sketch of each class's sum over all samples, [classes, columns].
    """
    classes = len(class_sketches)
    # relative to the largest: gradients of fitted samples underflow when squared
    peak = max(float(samples.scale.max(initial=0.0)), SMALLEST_FLOAT64)
    sets = np.zeros((classes + 1, len(samples.labels)))
    sets[samples.labels, np.arange(len(samples.labels))] = samples.weight
    sets[-1] = samples.weight
    told = np.zeros((classes + 1, samples.sketches.shape[1]))
    for start in range(0, len(samples.labels), SKETCH_BLOCK_ROWS):
        block = slice(start, start + SKETCH_BLOCK_ROWS)
        rows = np.asarray(samples.sketches[block], dtype=np.float64)
        told += sets[:, block] @ (rows * (samples.scale[block] / peak)[:, None])
    differences = np.concatenate([class_sketches, class_sketches.sum(0, keepdims=True)]) / peak - told
    # by the sketches: the squares of fitted samples' norms are zero in float64
    norms = sketched_norms(samples.sketches, samples.layer_columns) * (samples.scale / peak)[:, None]
    lengths = sets @ norms
    explained = np.sqrt((sets * np.maximum(samples.weight - 1, 0)) @ np.square(norms))
    distance = np.stack(
        [np.linalg.norm(differences[:, columns], axis=1) for columns in samples.layer_columns], 1
    )
    beyond = np.maximum(distance - EXPLAINED_DEVIATIONS * explained, 0)
    enough = np.append(np.bincount(samples.labels, minlength=classes) >= SMALLEST_CLASS_DRAWN, True)
    errors = beyond[enough] / np.maximum(lengths[enough], SMALLEST_FLOAT64)
    return np.asarray(errors.max(0))
