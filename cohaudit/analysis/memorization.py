"""How far does a network give a label only because it saw the sample?

Feldman & Zhang (NeurIPS 2020, "What Neural Networks Memorize and Why", eq. 2) call the label of sample i
memorized by the difference of two probabilities, over random trainings:

    mem_i = p_i − q_i = Pr[h(x_i) = y_i; h trained with i] − Pr[h(x_i) = y_i; h trained without i]

That takes hundreds of networks. Here there is one, so both probabilities are estimated: q from what layers
that have not bent to the labels see of all other samples, p from this network's answer and from its answers
to labels with as much support.

Arrays: N samples, C classes, V predictions from other samples. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from cohaudit.analysis.combined_prediction import explained
from cohaudit.analysis.label_noise import fit_label_noise
from cohaudit.analysis.score_rows import Softmax, WeightedSum, at, likeliest
from cohaudit.results.thresholds import MEMORIZATION_NOT_GIVEN, MEMORIZATION_OWN, MEMORIZATION_POWER

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class UnbentPrediction:
    """Predictions combined for what a network without the sample would give; see `memorization`.

    Attributes:
        weights: Weight of each prediction but the network's own, summing to 1.
        sharpness: β of the softmax of their weighted sum.
    """

    weights: Sequence[float]
    sharpness: float


def memorization(predictions: Sequence[Array], labels: Integers) -> Array:
    """Return the estimated memorization p (1 − q) of each label, 0 to 1, [N].

    p − q is at most that, by q (1 − p), and the same where p is 1 or q is 0. The product is the probability
    that of two networks, one trained with the sample and one without, the first gives its label and the
    second does not. Errors of p and q cancel less in the difference: most labels have both near 1.

    q is the softmax of the leave-one-out predictions, weighted by R² (1 − r)ᵖ; the network's own answer is
    none of them, because it saw the sample. p is the mean of the network's probability of the label and of
    the share of labels with such a q that it gives, by isotonic regression. A label that it does not give
    has at most `MEMORIZATION_NOT_GIVEN`.

    Args:
        predictions: Scores or probabilities of each label, [N, C] each: those that views give to a sample
            from all others, input side first, and last the network's own; at least two.
        labels: Given labels, [N].
    """
    *others, own = predictions
    unbent = combine_unbent(others, labels)
    without = at(Softmax(WeightedSum(others, unbent.weights), unbent.sharpness), labels)
    return memorization_by(without, likeliest(own) == labels, at(own, labels))


def memorization_by(without: Array, given: NDArray[np.bool_], own: Array) -> Array:
    """Return the same from q, from which labels the network gives, and from its probability of each, [N].

    Args:
        without: q, [N].
        given: Which labels the network gives, [N].
        own: Its probability of each label, [N].
    """
    with_it = MEMORIZATION_OWN * own + (1 - MEMORIZATION_OWN) * _given_at_support(given, without)
    found: Array = with_it * (1 - without)
    return np.where(given, found, np.minimum(found, MEMORIZATION_NOT_GIVEN))


def combine_unbent(predictions: Sequence[Array], labels: Integers) -> UnbentPrediction:
    """Return the mean of the predictions, those that have bent to the labels with hardly any weight.

    The weight is R² (1 − r)ᵖ, where r is the share that a prediction gives of the labels that those before it
    do not. There each counts by (1 − r)ᵖ alone: the first knows little of the labels where they are random,
    but has not bent to them.

    Args:
        predictions: Scores or probabilities of each label, [N, C] each, input side first; at least one.
        labels: Given labels, [N].
    """
    weights: list[float] = []
    total = np.zeros_like(predictions[0])
    before = np.zeros_like(predictions[0])
    for k, scores in enumerate(predictions):
        unsupported = before.argmax(1) != labels if k else np.zeros(len(labels), dtype=bool)
        fits = scores.argmax(1)[unsupported] == labels[unsupported]
        unbent = (1 - float(fits.mean()) if unsupported.any() else 1.0) ** MEMORIZATION_POWER
        before += unbent * scores
        weights.append(unbent * explained(scores, labels))
        total += weights[-1] * scores
    total /= sum(weights)
    shares = [weight / sum(weights) for weight in weights]
    return UnbentPrediction(shares, fit_label_noise(total, labels).sharpness)


def _given_at_support(given: NDArray[np.bool_], support: Array) -> Array:
    """Return the share of labels with as much support that are given, rising with the support, [N]."""
    # equal support must get an equal share, so ties are pooled first
    distinct, place, counts = np.unique(support, return_inverse=True, return_counts=True)
    share = np.bincount(place, given, len(distinct)) / counts
    rising: Array = isotonic_regression(share, weights=counts).x
    return rising[place]
