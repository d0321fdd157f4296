"""Labels predicted from vectors, such as embeddings: ridge regression, each sample left out in closed form.

Arrays: N samples, C classes, F numbers per sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.outside_views.view import Array, Integers, OutsideView, fit_sharpness
from cohaudit.analysis.score_rows import ScoreRows, Softmax, fitted_sample, is_whole, stored
from cohaudit.arrays import blocks_of

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
    scores = leave_one_out(_shortened(features, seed), labels, classes)
    if is_whole(scores.shape):
        # each score is needed several times
        return OutsideView(name, _probable(scores.scores, labels))
    return OutsideView(name, _probable(scores, labels))


def _probable(scores: ScoreRows, labels: Integers) -> Array:
    some = fitted_sample(scores.shape)
    sharpness = fit_sharpness(scores[some].astype(np.float64), labels[some])
    return stored(Softmax(scores, sharpness), "the labels predicted from vectors")


def standardized(columns: NDArray[np.floating]) -> Floats:
    """Return columns of mean 0 and deviation 1, float32 [N, F]; missing and constant ones become 0.

    Args:
        columns: Numbers of any scale, [N, F]; NaN and infinity count as missing.
    """
    width = columns.shape[1]
    counts, total, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for rows in blocks_of(*columns.shape):
        known = np.isfinite(columns[rows])
        counts += known.sum(0)
        total += np.where(known, columns[rows], 0).sum(0, dtype=np.float64)
    counts = np.maximum(counts, 1)
    mean = total / counts
    for rows in blocks_of(*columns.shape):
        squares += np.square(_centered(columns[rows], mean)).sum(0)
    deviation = np.sqrt(squares / counts)
    constant = deviation <= SMALLEST_DEVIATION * deviation.max(initial=0)
    scaled = np.empty(columns.shape, dtype=np.float32)
    for rows in blocks_of(*columns.shape):
        scaled[rows] = _centered(columns[rows], mean) / np.where(constant, np.inf, deviation)
    return scaled


def _centered(columns: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns less their means, 0 where a number is missing, float64."""
    return np.where(np.isfinite(columns), columns - mean, 0)


def _shortened(features: Floats, seed: int) -> Floats:
    """Return at most MAX_FEATURES numbers per sample, by a Gaussian projection [F, MAX_FEATURES]."""
    length = features.shape[1]
    if length <= MAX_FEATURES:
        return features
    directions = np.random.default_rng(seed).standard_normal((length, MAX_FEATURES), dtype=np.float32)
    # centered first: the projection's error grows with the length of what is projected
    projected: Floats = (features - features.mean(0)) @ directions
    return projected
