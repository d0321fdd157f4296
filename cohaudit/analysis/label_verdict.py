"""Which labels are wrong, how many, and whether that can be told at all.

Noise rates are fitted to the pooled prediction of the labels. A fit can explain a label that the prediction
disputes in two ways: it is wrong, or its sample is hard. Where most disputed labels have to be wrong, because
the prediction is sure of others, the fit's probabilities held on every data set that it was tried on. Where
nearly all may be hard, real errors of people look the same, and any number would be a guess: there is no list
then, and only an upper bound.

The constants come from `python -m benchmarks.verdicts.fit`; `python -m benchmarks.verdicts` prints how
constants that were chosen in this way did on data sets that were left out.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.class_conditional_noise import ClassNoise, fit_class_noise
from cohaudit.analysis.label_noise import (
    SMALLEST_PROBABILITY,
    LabelNoise,
    expected_labels,
    fit_label_noise,
    is_informative,
)
from cohaudit.analysis.log_odds import probability_of
from cohaudit.analysis.score_rows import at, fitted_sample, likeliest
from cohaudit.results.thresholds import MIN_DETERMINED, MIN_DETERMINED_ALONE

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_POOLED_SHARPNESS = 0.9
"""Smallest sharpness of a pool. Each of its members is calibrated, and a pool of those is rarely surer than
it should be. Layers that have bent a little to every label make a flatter one likelier, in which separable
classes with wrong labels pass for hard samples."""

MAX_LOG_ODDS = 12.0
"""Largest log-odds either way: no fit to a few thousand labels is surer."""

MAX_SUSPICION = 0.999
"""Largest probability of a wrong label that is reported."""

SHARE_SLACK = 0.002
"""Added to shares before one is divided by another: near 0, ratios are noise."""


@dataclass(frozen=True)
class Calibration:
    """What data sets with known wrong labels say of the fit.

    Attributes:
        offset: Added to the fit's log-odds of a wrong label, in nats: it takes some wrong labels for hard
            samples.
        min_determined: Part of the disputed labels that have to be wrong, by the fit, from which on the
            verdict can be told.
        share_factors: Bounds of the true share over the estimated one, where the verdict can be told.
        disputed_factor: Largest share of wrong labels over the share of disputed ones, elsewhere.
    """

    offset: float
    min_determined: float
    share_factors: tuple[float, float]
    disputed_factor: float


LOG_ODDS_OFFSET = 0.8
"""Added to the fit's log-odds, in nats."""

CALIBRATION = Calibration(LOG_ODDS_OFFSET, MIN_DETERMINED, (0.94, 1.3), 2.05)
"""The calibration by all data sets of the benchmark; `python -m benchmarks.verdicts.fit` prints it."""

CALIBRATION_ALONE = Calibration(LOG_ODDS_OFFSET, MIN_DETERMINED_ALONE, (0.91, 1.23), 3.0)
"""The same for a pool of the network's own layers and answers. They have bent to some wrong labels, and the
offset depends on the data more: 0 to 1.15, whatever family of data sets is left out."""


@dataclass(frozen=True)
class NoiseShare:
    """Share of wrong labels, 0 to 1.

    Attributes:
        lower: Lower bound; 0 if the share cannot be told.
        estimate: Mean of the probabilities: a guess where the share cannot be told.
        upper: Upper bound. The bounds are meant to hold the true share in nine of ten data sets.
        determined: Whether it can be told, see `LabelVerdict.determined`.
    """

    lower: float
    estimate: float
    upper: float
    determined: bool


@dataclass(frozen=True)
class LabelVerdict:
    """The verdict on all labels.

    Attributes:
        probability: Probability that each label is wrong, [N].
        evidence: Log-odds that each label is right; the lower, the more suspicious, [N].
        expected: Probability of each label from the other samples, [N, C].
        suggested: Likeliest label by the other samples, whatever label is given, [N].
        share: Share of wrong labels.
        fitted: Share of wrong labels by the fit, not calibrated.
        disputed: Share of labels for which another one is expected.
        determined: Part of the disputed labels that have to be wrong by the fit, 0 to 1. From
            `MIN_DETERMINED` on the verdict can be told.
        noise: Noise rates by class.
    """

    probability: Array
    evidence: Array
    expected: Array
    suggested: Integers
    share: NoiseShare
    fitted: float
    disputed: float
    determined: float
    noise: ClassNoise


@dataclass(frozen=True)
class PoolFit:
    """What explains the given labels by a pool's scores, if all classes have one noise rate.

    Attributes:
        noise: Sharpness of the scores, and the rate.
        informative: Whether the scores predict the labels better than the class shares do.
    """

    noise: LabelNoise
    informative: bool


def fit_pool(scores: Array, labels: Integers) -> PoolFit:
    """Fit one noise rate and the sharpness of a pool's scores to the given labels.

    Args:
        scores: Pooled log-probabilities, [N, C]; C at least 2.
        labels: Given labels, [N].
    """
    noise = fit_label_noise(scores, labels, MIN_POOLED_SHARPNESS)
    return PoolFit(noise, is_informative(scores, labels, noise))


def judge_labels(
    scores: NDArray[np.floating], labels: Integers, calibration: Calibration = CALIBRATION
) -> LabelVerdict:
    """Judge all labels by a pooled prediction of them.

    Args:
        scores: Pooled log-probabilities, [N, C]; C at least 2.
        labels: Given labels, [N].
        calibration: What is known of such fits.
    """
    some = fitted_sample(scores.shape)
    fit = fit_pool(scores[some].astype(np.float64), labels[some])
    return judge_by(fit, expected_labels(scores, fit.noise.sharpness), labels, calibration)


def judge_by(fit: PoolFit, expected: Array, labels: Integers, calibration: Calibration) -> LabelVerdict:
    """Judge all labels by a pool that was fitted to them.

    Args:
        fit: Fit to the labels, or to some of them.
        expected: Softmax of the pool's scores at the sharpness of the fit, [N, C].
        labels: Given labels, [N].
        calibration: What is known of such fits.
    """
    noise = fit_class_noise(expected, labels, fit.noise)
    log_odds = noise.log_odds_wrong(labels)
    clipped = np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    fitted = float(probability_of(clipped).mean())
    suggested = likeliest(expected)
    disputed = float(np.mean(suggested != labels))
    # a prediction no better than the class shares disputes labels, but has nothing to say of them
    determined = min(1.0, fitted / disputed) if disputed > 0 and fit.informative else 0.0
    probability = np.minimum(probability_of(clipped + calibration.offset), MAX_SUSPICION)
    is_determined = determined >= calibration.min_determined
    if is_determined:
        lower, upper = ((fitted + SHARE_SLACK) * f - SHARE_SLACK for f in calibration.share_factors)
    else:
        lower, upper = 0.0, disputed * calibration.disputed_factor
    return LabelVerdict(
        probability=probability,
        evidence=-log_odds,
        expected=noise.expected,
        suggested=suggested,
        share=_share(lower, float(probability.mean()), upper, is_determined),
        fitted=fitted,
        disputed=disputed,
        determined=determined,
        noise=noise,
    )


def label_is_right(noise: ClassNoise, labels: Integers, wrong: Array, others: Integers) -> Array:
    """Return the probability that a label of each sample is the true one, the given one considered, [N].

    For the given label it is 1 − `wrong`. If the given label is wrong, each other one is right in proportion
    to its probability by the fit of the noise rates.

    Args:
        noise: Noise rates, fitted to the given labels.
        labels: Given labels, [N].
        wrong: Probability that each of them is wrong, [N].
        others: Label of each sample that the probability is of, given or not, [N].
    """
    part = at(noise.true, others) / np.maximum(noise.others(labels), SMALLEST_PROBABILITY)
    right: Array = np.where(others == labels, 1 - wrong, wrong * part)
    return right


def _share(lower: float, estimate: float, upper: float, determined: bool) -> NoiseShare:
    # the bounds come from the fit, the estimate from the calibrated probabilities: it stays between them
    lower = max(0.0, min(lower, estimate))
    return NoiseShare(lower, estimate, min(1.0, max(upper, estimate)), determined)
