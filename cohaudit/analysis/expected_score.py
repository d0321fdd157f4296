"""How accurate will the model be on new data? The expected score, from the training data.

For each answer of the model on its training data, the other samples say how probable it is: the pool of what
the raw data and the network's layers predict without the sample (`pooled_prediction`). The mean of these
probabilities, the support, is close to the accuracy on new data by itself; two fitted numbers make up for the
rest. With copies of the network that never saw the sample (a cross-fit), what they answer counts as well.

There are two scores. Against *right* labels, an answer is as good as its probability of being the true label;
against labels *as given*, wrong ones among them, as its probability of being the label that would be given.

The constants come from `python -m benchmarks.generalization.expected`, which also shows how well constants
do on families of data sets that they were not chosen on: docs/risk.md.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.label_noise import SMALLEST_PROBABILITY
from cohaudit.analysis.log_odds import log_odds, probability_of
from cohaudit.analysis.quantiles import Z_80
from cohaudit.analysis.score_rows import at, likeliest
from cohaudit.analysis.shares import wilson_interval
from cohaudit.results import Estimate, Flatness, Skipped

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

COVERAGE = 0.8
"""Nominal share of networks whose accuracy on new data lies within the interval; `Z_80` belongs to it."""

MAX_SUPPORT = 0.995
"""Support is clipped to this, and to 1 − this from below: its log-odds would be infinite at 1."""

INTERCEPT = 0.113
"""Constant term of the log-odds of the accuracy on new data."""

SLOPE = 1.018
"""Change of those log-odds per unit of the log-odds of support."""

HALF_WIDTH = 0.077
"""Half of the interval, in accuracy: from the errors on families of data sets, each left out of the fit."""

FEW_SAMPLES = 500
"""Samples up to which the interval is that of few: what is made of so few depends on the network, and support
tells mostly what others make of them."""

HALF_WIDTH_FEW = 0.142
"""`HALF_WIDTH` for `FEW_SAMPLES`: with the errors on networks of other recipes among them
(`benchmarks.generalization.expected_zoo`). Fewer samples make it wider by the root of their number, which was
tested down to 50 (`benchmarks.generalization.expected_few`)."""

INTERCEPT_ALONE = 0.153
"""`INTERCEPT` where nothing but the network's own layers and answers predicts the labels."""

SLOPE_ALONE = 1.092
"""`SLOPE` in that case."""

HALF_WIDTH_ALONE = 0.128
"""`HALF_WIDTH` in that case."""

INTERCEPT_CROSSFIT = 0.018
"""`INTERCEPT` with a cross-fit."""

SLOPE_CROSSFIT = 0.596
"""`SLOPE` with a cross-fit: the support is that of the pool without it."""

OUT_OF_FOLD = 0.443
"""Change of the log-odds per unit of the log-odds of the copies' accuracy on right labels."""

HALF_WIDTH_CROSSFIT = 0.075
"""`HALF_WIDTH` with a cross-fit."""

INTERCEPT_FLAT = -0.28
"""`INTERCEPT` where the flatness is known: `python -m benchmarks.generalization.expected_flatness`."""

SLOPE_FLAT = 1.029
"""`SLOPE` in that case."""

FLATNESS = 0.147
"""Change of the log-odds per unit of the log-odds that an answer stays when noise is added to the weights. A
network that fits few samples without sharing much of them answers by chance then."""

HALF_WIDTH_FLAT = 0.077
"""`HALF_WIDTH` in that case."""

HALF_WIDTH_REVIEWED = 0.079
"""Least half of the interval with reviewed labels: fifty of them leave the share of wrong ones uncertain."""

HALF_WIDTH_GIVEN = 0.056
"""Half of the interval of the score against labels as given, in accuracy."""

HALF_WIDTH_GIVEN_CROSSFIT = 0.065
"""The same with a cross-fit, whose accuracy on the given labels is the score itself."""

MIN_SAMPLES_PER_CLASS = 2
"""Samples a class, on average, from which on others can speak for one."""

JUDGED_ERROR = 0.028
"""Standard error of a holdout's accuracy on right labels from judging its labels, in accuracy, beside that of
sampling: `python -m benchmarks.generalization.expected` measures it on out-of-fold answers."""


@dataclass(frozen=True)
class ExpectedScore:
    """The expected score, an accuracy.

    Attributes:
        support: Mean probability that the other samples give to the model's answers, as right labels.
        right: Expected accuracy on new data with right labels.
        given: The same against labels as given in the training data, wrong ones among them.
        half_width: Half of the interval of `right`, before it is cut off at 0 and 1.
        flatness: How many answers stay with noise in the weights, if `right` was estimated by it too.
    """

    support: float
    right: Estimate
    given: Estimate
    half_width: float
    flatness: Flatness | None = None


@dataclass(frozen=True)
class CrossfitAnswers:
    """What copies of the network answer, which were not trained on the sample.

    Attributes:
        right: Mean probability that their answers are the true labels, by the pool that they are part of.
        given: Share of the given labels that they answer.
    """

    right: float
    given: float


def review_shift(noise: ClassNoise, labels: Integers, wrong: Array) -> float:
    """Return what reviewed labels add to the log-odds of the expected accuracy against right labels.

    Support counts on what the pool believes of itself: that its likeliest label is right with the probability
    that it gives. A review shows how often the given labels are wrong, also where the pool agrees with them:
    wrong labels by a rule have support. The shift is the log-odds of the share of likeliest labels that are
    right by the review, minus those of the share that are right by the pool.

    Args:
        noise: Noise rates by the pool.
        labels: Given labels, [N].
        wrong: Probability that each label is wrong, calibrated by reviewed labels, [N].
    """
    best = likeliest(noise.expected)
    support = at(noise.expected, best)
    # where another label is likelier than the given one, it is right if the given one is wrong, and it is the
    # other one that is right instead
    instead = support / np.maximum(1 - at(noise.expected, labels), SMALLEST_PROBABILITY)
    right = np.where(best == labels, 1 - wrong, wrong * instead)
    return _odds(float(right.mean())) - _odds(float(support.mean()))


def crossfit_answers(
    probability: NDArray[np.floating], noise: ClassNoise, labels: Integers
) -> CrossfitAnswers:
    """Return how accurate the copies of a cross-fit are.

    Args:
        probability: Class probabilities by the copy that was not trained on the sample, [N, C].
        noise: Noise rates by the pool that these are part of.
        labels: Given labels, [N].
    """
    answers = likeliest(probability)
    right = float(at(noise.true, answers).mean())
    return CrossfitAnswers(right, float(np.mean(answers == labels)))


def expect_score(
    answers: Integers,
    noise: ClassNoise,
    *,
    outside: bool,
    crossfit: CrossfitAnswers | None = None,
    reviewed: float | None = None,
    flatness: Flatness | None = None,
) -> ExpectedScore | Skipped:
    """Return the expected score, or why there is none.

    σ(a + b logit x), or σ(a + b logit x + c logit f) with a cross-fit, with the constants above. x is the
    support; f is the copies' accuracy on right labels. Without a cross-fit, f is the flatness if it is known
    and something outside the network is part of the pool: it was not tested otherwise. Against labels as
    given, x is the mean probability that the answer is the label that would be given; with a cross-fit, the
    score is the copies' accuracy on the given labels.

    Args:
        answers: The model's answers, [N].
        noise: Noise rates by the pool of what the other samples predict, without the cross-fit.
        outside: Whether predictions from outside the network are part of the pool.
        crossfit: What the copies of a cross-fit answer; None without one.
        reviewed: What reviewed labels add, from `review_shift`; None without a review. It moves the score
            against right labels only.
        flatness: How many answers stay with noise in the weights; None if that was not measured.
    """
    count, classes = noise.expected.shape
    if count < MIN_SAMPLES_PER_CLASS * classes:
        reason = f"{count:,} samples of {classes:,} classes are too few to predict each other's labels"
        return Skipped("expected score", f"{reason}: give at least {MIN_SAMPLES_PER_CLASS} a class")
    each = at(noise.expected, answers)
    support = float(each.mean())
    as_given = float(noise.given_at(answers).mean())
    # few samples say little of the mean; the benchmark's hundreds and thousands hardly add to the width
    noise_of_mean = Z_80 * float(each.std()) / math.sqrt(count)
    flat = flatness if outside and crossfit is None else None
    if crossfit is not None:
        odds = INTERCEPT_CROSSFIT + SLOPE_CROSSFIT * _odds(support) + OUT_OF_FOLD * _odds(crossfit.right)
        right = float(probability_of(odds))
        half = math.hypot(HALF_WIDTH_CROSSFIT, noise_of_mean)
        given = crossfit.given
        half_given = math.hypot(HALF_WIDTH_GIVEN_CROSSFIT, noise_of_mean)
    else:
        right = expected_accuracy(support, outside=outside, flatness=flat)
        few = half_width_of_few(count)
        width = HALF_WIDTH_ALONE if not outside else HALF_WIDTH if flat is None else HALF_WIDTH_FLAT
        half = math.hypot(max(width, few), noise_of_mean)
        given = expected_accuracy(as_given, outside=outside)
        half_given = math.hypot(max(HALF_WIDTH_GIVEN if outside else HALF_WIDTH_ALONE, few), noise_of_mean)
    if reviewed is not None:
        right = float(probability_of(_odds(right) + reviewed))
        half = max(half, HALF_WIDTH_REVIEWED)
    return ExpectedScore(support, around(right, half), around(given, half_given), half, flat)


def expected_accuracy(support: float, *, outside: bool, flatness: Flatness | None = None) -> float:
    """Return the expected accuracy on new data, σ(a + b logit x) or σ(a + b logit x + c logit f).

    Args:
        support: x, the mean probability that the other samples give to the model's answers.
        outside: Whether predictions from outside the network are part of them.
        flatness: f, how many answers stay with noise in the weights; None if that was not measured.
    """
    if flatness is not None:
        stay = stay_odds(flatness.unchanged.value, flatness.samples)
        return float(probability_of(INTERCEPT_FLAT + SLOPE_FLAT * _odds(support) + FLATNESS * stay))
    intercept, slope = (INTERCEPT, SLOPE) if outside else (INTERCEPT_ALONE, SLOPE_ALONE)
    return float(probability_of(intercept + slope * _odds(support)))


def half_width_of_few(samples: int) -> float:
    """Return the least half of the interval for so many samples, 0 where they are not few."""
    return HALF_WIDTH_FEW * math.sqrt(FEW_SAMPLES / samples) if samples <= FEW_SAMPLES else 0.0


def stay_odds(unchanged: float, samples: int) -> float:
    """Return the log-odds that an answer stays, as if one more had stayed and one more had changed.

    Args:
        unchanged: Share of answers that stay.
        samples: Number of samples answered.
    """
    return float(log_odds((unchanged * samples + 1) / (samples + 2)))


def around(score: float, half_width: float) -> Estimate:
    """Return a score with its interval, cut off at 0 and 1.

    Args:
        score: An accuracy, 0 to 1.
        half_width: Half of the interval before it is cut off.
    """
    return Estimate(score, max(score - half_width, 0.0), min(score + half_width, 1.0))


def combine(expected: Estimate, half_width: float, measured: float, error: float) -> Estimate:
    """Return a score from prediction and measurement together, each weighted by its precision.

    Both count as normal and independent: inverse-variance weighting.

    Args:
        expected: Predicted score.
        half_width: Half of its interval before it was cut off.
        measured: Measured score.
        error: Standard error of `measured`, above 0.
    """
    spread = half_width / Z_80
    weight = spread**2 / (spread**2 + error**2)
    value = (1 - weight) * expected.value + weight * measured
    return around(value, Z_80 * spread * error / math.hypot(spread, error))


def sampling_error(accuracy: float, samples: int) -> float:
    """Return the standard error of an accuracy by the sampling of a holdout.

    Args:
        accuracy: Accuracy on the holdout.
        samples: Size of the holdout.
    """
    # one correct and one wrong answer more than there are: a few lucky samples must not count as certain
    share = (accuracy * samples + 1) / (samples + 2)
    return math.sqrt(share * (1 - share) / (samples + 2))


def measured_score(accuracy: float, samples: int) -> Estimate:
    """Return a measured accuracy with its sampling interval (Wilson, JASA 1927), at `COVERAGE`.

    Args:
        accuracy: Accuracy on the holdout.
        samples: Size of the holdout, above 0.
    """
    return wilson_interval(accuracy, samples, Z_80)


def _odds(share: float) -> float:
    return float(log_odds(min(max(share, 1 - MAX_SUPPORT), MAX_SUPPORT)))
