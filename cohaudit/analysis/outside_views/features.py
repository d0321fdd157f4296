"""Labels predicted from vectors, such as embeddings: ridge regression, each sample left out in closed form.

Arrays: N samples, C classes, F numbers per sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.outside_views.view import Integers, OutsideView, fit_sharpness, softmax

Floats = NDArray[np.float32]

MAX_FEATURES = 2048
"""Numbers per sample that the ridge sees; of more, random projections are taken. The cost grows with their
square, and a projection of this length keeps inner products to about 2 %."""
SMALLEST_DEVIATION = 1e-6
"""Standard deviation, relative to the largest one of any column, below which a column counts as constant."""


def predict_from_features(
    features: Floats, labels: Integers, classes: int, name: str, seed: int = 0
) -> OutsideView:
    """Predict each sample's label from the vectors of all other samples.

    A sample's own label enters by three numbers only, each of which N labels decide: the class shares (by
    1 / N), the strength of the regularization, and the sharpness of the probabilities.

    Args:
        features: Vectors, [N, F]; compared by their angles around the mean.
        labels: Given labels, [N].
        classes: C.
        name: Name of the view.
        seed: Seed of the projection of very long vectors.
    """
    scores = leave_one_out(_shortened(features, seed), labels, classes).scores
    return OutsideView(name, softmax(scores, fit_sharpness(scores, labels)))


def standardized(columns: NDArray[np.floating]) -> Floats:
    """Return columns of mean 0 and deviation 1, float32 [N, F]; missing and constant ones become 0.

    Args:
        columns: Numbers of any scale, [N, F]; NaN and infinity count as missing.
    """
    known = np.isfinite(columns)
    counts = np.maximum(known.sum(0), 1)
    values = np.where(known, columns, 0).astype(np.float64)
    centered = np.where(known, values - values.sum(0) / counts, 0)
    deviation = np.sqrt(np.square(centered).sum(0) / counts)
    constant = deviation <= SMALLEST_DEVIATION * deviation.max(initial=0)
    scaled: Floats = (centered / np.where(constant, np.inf, deviation)).astype(np.float32)
    return scaled


def _shortened(features: Floats, seed: int) -> Floats:
    """Return at most MAX_FEATURES numbers per sample, by a Gaussian projection [F, MAX_FEATURES]."""
    length = features.shape[1]
    if length <= MAX_FEATURES:
        return features
    directions = np.random.default_rng(seed).standard_normal((length, MAX_FEATURES), dtype=np.float32)
    # centered first: the projection's error grows with the length of what is projected
    projected: Floats = (features - features.mean(0)) @ directions
    return projected
