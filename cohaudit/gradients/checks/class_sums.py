"""Whether the class sums of a run agree with the sketches of all its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.gradients.sketch import SKETCH_BLOCK_ROWS

Array = NDArray[np.float64]


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
    """Return how far the class sums are from the samples' sketches, per layer.

    A sketch is linear: the sketch of a class's sum is the sum of its samples' sketches. So every sample of
    the run is checked, where the certificate's other comparisons check a few. The error is
    ‖sketch(Σ g_i) − Σ sketch(g_i)‖ / Σ‖g_i‖, the largest over the classes.

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
    return np.asarray(np.max(errors, axis=1))
