"""Several predictions of the same labels combined into one, those that overfit with less weight.

Arrays: N samples, C classes, P predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_EXPLAINED = 1e-3
"""Share of the labels' variance that each prediction counts as explaining at least: weights stay above 0."""


@dataclass(frozen=True)
class CombinedPrediction:
    """Several predictions combined.

    Attributes:
        scores: Weighted mean of their scores, [N, C].
        weights: Weight of each, summing to 1, [P].
        overfit_share: r: share of the labels not supported by those before it that each one fits, [P].
        disagreements: Number of labels not supported by those before it, [P].
    """

    scores: Array
    weights: Array
    overfit_share: Array
    disagreements: Integers


def combine_predictions(scores: Sequence[Array], labels: Integers, power: float) -> CombinedPrediction:
    """Combine several predictions, those that overfit with less weight.

    A layer that has overfit fits exactly those labels that the layers before it do not support. The weight of
    a prediction is R² (1 − r)ᵖ. R² is the share of the labels' variance that it explains. r is the share that
    it fits of the labels not supported by the combination of those before it; 0 for the first one.

    Args:
        scores: Scores of each prediction, input side first, [N, C] each; at least one.
        labels: Given labels, [N].
        power: p, how steeply the weight falls with r.
    """
    weights: list[float] = []
    overfit: list[float] = []
    counts: list[int] = []
    total = np.zeros_like(scores[0])
    for own in scores:
        unsupported = total.argmax(1) != labels if weights else np.zeros(len(labels), dtype=bool)
        fits = own.argmax(1)[unsupported] == labels[unsupported]
        overfit.append(float(np.mean(fits)) if unsupported.any() else 0.0)
        counts.append(int(unsupported.sum()))
        weights.append(explained(own, labels) * (1 - overfit[-1]) ** power)
        # the order matters: each one is compared with the weighted sum of those before it
        total += weights[-1] * own
    return CombinedPrediction(
        scores=total / sum(weights),
        weights=np.asarray(weights) / sum(weights),
        overfit_share=np.asarray(overfit),
        disagreements=np.asarray(counts),
    )


def explained(scores: Array, labels: Integers) -> float:
    """Return R² of a prediction: 1 − its squared error over that of predicting the class shares."""
    # squared error, as ridge regression minimizes it: views and probabilities are comparable
    count = len(labels)
    variance = count - np.square(np.bincount(labels)).sum() / count
    # all labels are equal: there is nothing to explain
    if variance == 0:
        return MIN_EXPLAINED
    given = scores[np.arange(count), labels]
    # the label's own target is 1, the others' are 0: no array of targets is made
    error = np.einsum("nc,nc->", scores, scores) + (1 - 2 * given).sum()
    return max(1 - float(error / variance), MIN_EXPLAINED)
