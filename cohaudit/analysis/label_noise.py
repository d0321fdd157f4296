"""How sharp scores are, and how many labels are wrong, if every wrong label is as likely as any other.

Two numbers explain the given labels from scores that were made without looking at a sample's own label.
`class_conditional_noise` refines the second.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.score_rows import ScoreRows, Softmax, score_blocks, stored

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_SHARPNESS = 300.0
"""Beyond this, a leave-one-out score that leads by 0.1 is certain: no score is that precise."""

MIN_SHARPNESS = 0.5
"""Smallest sharpness of the first grid: flatter scores hardly tell labels apart."""

SAME_LIKELIHOOD = 0.01
"""Log-likelihoods, in nats, that differ by less explain the labels equally well."""

MIN_GAIN_IN_ERRORS = 3.0
"""Standard errors by which the scores must predict the labels better than the class shares do."""

SMALLEST_PROBABILITY = 1e-300
"""Floor of probabilities before a logarithm or a division; well above the smallest float64."""


@dataclass(frozen=True)
class LabelNoise:
    """Symmetric noise, fitted: two numbers that explain the given labels from the leave-one-out scores.

    The true label of sample i is t with probability q_it = softmax(β · score_i)_t. The given label is the
    true one with probability 1 − ε, and each other one with ε / (C − 1).

    Attributes:
        sharpness: β ≥ 0, how much a leading score counts.
        share: ε in [0, 1 − 1 / C], the share of wrong labels.
        log_likelihood: Log-likelihood of the given labels, in nats.
    """

    sharpness: float
    share: float
    log_likelihood: float


def _label_probability(scores: Array, labels: Integers, sharpness: float) -> Array:
    """Return q_iy, the probability that the given label is the true one, before noise is considered, [N]."""
    odds = np.empty(len(labels))
    for rows, block in score_blocks(scores):
        lead = block - block[np.arange(len(block)), labels[rows], None]
        lead *= sharpness
        # exp overflows float64 beyond about 709; a probability of exp(-700) is zero anyway
        np.exp(np.minimum(lead, 700, out=lead), out=lead)
        odds[rows] = lead.sum(1)
    return 1 / odds


def _noise_share(given_is_true: Array, classes: int) -> tuple[float, float]:
    """Return the most likely ε at fixed q, and its log-likelihood, by expectation maximization.

    Args:
        given_is_true: q_iy, [N].
        classes: C.
    """
    share = 0.05
    # expectation maximization of one number; it converges long before 500 steps except near its bounds
    for _ in range(500):
        wrong = share / (classes - 1) * (1 - given_is_true)
        right = (1 - share) * given_is_true
        updated = float(np.mean(wrong / np.maximum(wrong + right, SMALLEST_PROBABILITY)))
        # above 1 − 1 / C labels would be worse than drawn at random; at 0 the iteration could never leave
        updated = min(max(updated, 1e-9), 1 - 1 / classes)
        if abs(updated - share) < 1e-7:
            break
        share = updated
    return share, float(np.log(np.maximum(wrong + right, SMALLEST_PROBABILITY)).sum())


def fit_label_noise(scores: Array, labels: Integers, min_sharpness: float = MIN_SHARPNESS) -> LabelNoise:
    """Fit the two numbers of `LabelNoise` by maximum likelihood.

    Each score was made without its own sample's label (except for its part in the class shares), so that the
    fit is honest without a holdout. Among equally likely fits, the one with the fewest wrong labels is
    chosen: uninformative features explain a rare class as well by label errors as by its rarity.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
        min_sharpness: Smallest β tried.
    """

    def fitted(sharpness: float) -> LabelNoise:
        share, likelihood = _noise_share(_label_probability(scores, labels, sharpness), scores.shape[1])
        return LabelNoise(sharpness, share, likelihood)

    lowest = min_sharpness if min_sharpness > MIN_SHARPNESS else 0.0
    # two grids instead of an optimizer: the likelihood can have several maxima, and this is deterministic
    steps = np.geomspace(min_sharpness, MAX_SHARPNESS, 24)
    best = _likeliest([fitted(step) for step in steps.tolist()])
    # the second grid refines the first within one step to either side
    ratio = float(steps[1] / steps[0])
    bounds = max(best.sharpness / ratio, lowest), min(best.sharpness * ratio, MAX_SHARPNESS)
    finer = np.geomspace(*bounds, 9)
    return _likeliest([best, *(fitted(step) for step in finer.tolist())])


def _likeliest(fits: list[LabelNoise]) -> LabelNoise:
    """Return the most likely fit; among equally likely ones, the one with the fewest wrong labels."""
    # a tolerance, because the likelihood is flat where features are uninformative
    bound = max(fit.log_likelihood for fit in fits) - SAME_LIKELIHOOD
    return min((fit for fit in fits if fit.log_likelihood >= bound), key=lambda fit: fit.share)


def expected_labels(scores: ScoreRows, sharpness: float) -> Array:
    """Return the probability of each label by the scores, q = softmax(β · score), [N, C].

    Args:
        scores: Leave-one-out scores, [N, C].
        sharpness: β, see `LabelNoise`.
    """
    return stored(Softmax(scores, sharpness), "the expected labels")


def as_probabilities(scores: Array, labels: Integers) -> Array:
    """Return scores as probabilities of each label, as sharp as explains the given labels best, [N, C].

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
    """
    return expected_labels(scores, fit_label_noise(scores, labels).sharpness)


def is_informative(scores: Array, labels: Integers, noise: LabelNoise) -> bool:
    """Return whether the scores predict the given labels better than the class shares do.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
        noise: Symmetric noise fitted to them.
    """
    classes = scores.shape[1]
    q = _label_probability(scores, labels, noise.sharpness)
    share = noise.share
    by_scores = np.log(np.maximum((1 - share) * q + share / (classes - 1) * (1 - q), SMALLEST_PROBABILITY))
    by_shares = np.log(np.bincount(labels, minlength=classes)[labels] / len(labels))
    # paired by sample, so that what is hard for both cancels
    gain = by_scores - by_shares
    return bool(gain.mean() > MIN_GAIN_IN_ERRORS * gain.std() / np.sqrt(len(gain)))
