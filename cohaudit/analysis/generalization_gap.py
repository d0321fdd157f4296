"""How much worse will the model do on new data? The generalization gap, from the training data alone.

For each prediction of the model on its training data, the other samples give a probability, by the layers
that overfit least (`leave_one_out`). The mean of these probabilities, the agreement, is close to the accuracy
on new data. Where the model does better than its neighbors alone, the training loss and the number of samples
tell by how much. Four numbers were fitted for that, and two for the classes, on half of a zoo of trained
networks, and tested on the other half: benchmarks/generalization/risk.py, docs/risk.md.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.quantiles import Z_80
from cohaudit.analysis.shares import wilson_interval
from cohaudit.results import Estimate, Holdout, Risk, RiskTerm, Skipped
from cohaudit.results.gap import risk_level
from cohaudit.results.wording import percent, points

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

COVERAGE = 0.8
"""Nominal share of networks whose gap lies within the interval; `Z_80` belongs to it."""

HALF_WIDTH = 0.086
"""Half of the interval of the model's gap, in accuracy.

From the errors on network families left out of the fit, inspired by hierarchical conformal prediction (Lee,
Barber & Willett, arXiv 2306.06342). It does not carry that method's guarantee: the constants were refitted on
all families, and the form of the formula was chosen on them."""

CLASS_HALF_WIDTH = 0.146
"""Half of the interval of a class's gap, in accuracy; found like `HALF_WIDTH`."""

INTERCEPT = -0.499
"""Constant term of the log-odds of the accuracy on new data."""

AGREEMENT = 0.872
"""Change of those log-odds per unit of the log-odds of agreement."""

LOSS = -0.233
"""Change of those log-odds per nat of the mean training loss."""

DECADES = 0.278
"""Change of those log-odds per tenfold number of samples."""

CLASS_ACCURACY = 0.516
"""How much a class's gap exceeds the model's, per unit that its training accuracy is above the mean."""

CLASS_AGREEMENT = -0.737
"""How much a class's gap exceeds the model's, per unit that its agreement is above the mean."""

MIN_ZOO_SAMPLES = 200
"""Samples of the smallest training set in the zoo; fewer count as this many: the fit does not extrapolate."""

MAX_ZOO_SAMPLES = 3000
"""Samples of the largest training set in the zoo; more count as this many."""

MAX_AGREEMENT = 0.99
"""Agreement is clipped to this, and to 1 − this from below: its log-odds would be infinite at 1."""

PREPROCESSING_MARGIN = 0.1
"""A training accuracy this far below what the other samples predict means that the model was hardly trained,
or does not get its inputs as in training: that prediction is linear and never sees the sample's own label."""


@dataclass(frozen=True)
class GapPrediction:
    """The gap as predicted, for the model and for each class.

    Attributes:
        agreement: Mean probability that the other samples give to the model's predictions.
        accuracy: Expected accuracy on new data with correct labels.
        gap: Training accuracy minus `accuracy`.
        classes: Gap of each class, NaN for a class without samples, [C].
    """

    agreement: float
    accuracy: float
    gap: float
    classes: Array


def expected_accuracy(agreement: float, mean_loss: float, samples: int, classes: int) -> float:
    """Return the expected accuracy on new data.

    σ(a + b logit(x) + c ℓ + d log₁₀ N), with the fitted constants above.

    Args:
        agreement: x, the mean probability that the other samples give to the model's predictions.
        mean_loss: ℓ, the mean training loss in nats; capped at that of a uniform guess, ln C.
        samples: N, the size of the training set.
        classes: C.
    """
    x = min(max(agreement, 1 - MAX_AGREEMENT), MAX_AGREEMENT)
    loss = min(mean_loss, math.log(classes))
    decades = math.log10(min(max(samples, MIN_ZOO_SAMPLES), MAX_ZOO_SAMPLES))
    odds = INTERCEPT + AGREEMENT * math.log(x / (1 - x)) + LOSS * loss + DECADES * decades
    return 1 / (1 + math.exp(-odds))


def predict_gap(
    labels: Integers,
    predicted: Integers,
    expected_low_overfit: Array,
    expected: Array,
    *,
    mean_loss: float,
    samples: int,
) -> GapPrediction:
    """Predict the gap between training accuracy and accuracy on new data.

    The layers that overfit least tell how large the gap is. Most layers together tell how it divides among
    the classes: they are less biased between classes, and only differences count there.

    Args:
        labels: Given labels, [N].
        predicted: The model's predictions, [N].
        expected_low_overfit: Probability of each label from the other samples, by the layers that overfit
            least, [N, C].
        expected: The same by most layers, [N, C].
        mean_loss: Mean training loss, in nats.
        samples: Size of the training set, of which N samples were measured.
    """
    count, classes = expected_low_overfit.shape
    agreement = float(expected_low_overfit[np.arange(count), predicted].mean())
    # the gap is to correct labels: agreement knows nothing of how new data are labeled
    accuracy = expected_accuracy(agreement, mean_loss, samples, classes)
    gap = float(np.mean(labels == predicted)) - accuracy
    return GapPrediction(agreement, accuracy, gap, gap + _class_differences(labels, predicted, expected))


def _class_differences(labels: Integers, predicted: Integers, expected: Array) -> Array:
    """Return by how much each class's gap exceeds the model's, [C]; NaN for a class without samples."""
    classes = expected.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    present = sizes > 0
    weights = sizes[present] / len(labels)
    features = np.zeros((2, int(present.sum())))
    for place, c in enumerate(np.flatnonzero(present).tolist()):
        features[0, place] = np.mean(predicted[labels == c] == c)
        features[1, place] = class_agreement(predicted, expected, c)
    # centered by class size, so that the classes' gaps average to the model's
    features -= (features @ weights)[:, None]
    differences = np.full(classes, np.nan)
    differences[present] = np.array([CLASS_ACCURACY, CLASS_AGREEMENT]) @ features
    return differences


def class_agreement(predicted: Integers, expected: Array, label: int) -> float:
    """Return how far the other samples agree with the model on a class, 0 to 1.

    The mean of a recall and a precision, with the other samples' probabilities in place of labels: of the
    samples expected in the class, the share that the model puts there; and of those that the model puts
    there, the share expected in it.

    Args:
        predicted: The model's predictions, [N].
        expected: As in `predict_gap`, [N, C].
        label: The class.
    """
    own = expected[:, label]
    assigned = predicted == label
    # the floor avoids 0 / 0 for a class that the other samples never expect
    recall = float(own[assigned].sum()) / max(float(own.sum()), 1e-12)
    precision = float(own[assigned].mean()) if assigned.any() else 0.0
    return (recall + precision) / 2


def interval(gap: float, accuracy: float, half_width: float = HALF_WIDTH) -> Estimate:
    """Return the predicted gap with its interval, clipped so that the accuracy on new data is in [0, 1].

    Args:
        gap: Training accuracy minus accuracy on new data.
        accuracy: Training accuracy.
        half_width: Half of the interval before clipping.
    """
    # a gap below accuracy − 1, or above accuracy, would mean an accuracy outside 0 to 1
    low = max(gap - half_width, accuracy - 1)
    high = min(gap + half_width, accuracy)
    return Estimate(gap, min(low, gap), max(high, gap))


def with_holdout(predicted: Estimate, holdout: Holdout) -> Estimate:
    """Return the gap from prediction and holdout together, each weighted by its precision.

    Both count as normal, with the standard deviation that belongs to their interval. The prediction is of the
    gap to correct labels, the holdout measures the gap to labels as given there; the two are mixed as if the
    holdout's labels were correct.

    Args:
        predicted: Gap as predicted from the training data.
        holdout: Measured on samples that the model was not trained on.
    """
    spread = HALF_WIDTH / Z_80
    n = holdout.samples
    # one correct and one wrong prediction more than there are: a few lucky samples must not count as certain
    share = (holdout.accuracy * n + 1) / (n + 2)
    noise = math.sqrt(share * (1 - share) / (n + 2))
    # inverse-variance weighting of two independent estimates
    weight = spread**2 / (spread**2 + noise**2)
    value = (1 - weight) * predicted.value + weight * holdout.gap.value
    half = Z_80 * spread * noise / math.hypot(spread, noise)
    return interval(value, holdout.accuracy + holdout.gap.value, half)


def measured_gap(accuracy: float, holdout_accuracy: float, samples: int) -> Estimate:
    """Return a measured gap with its sampling interval (Wilson, JASA 1927), at `COVERAGE`.

    Args:
        accuracy: Training accuracy.
        holdout_accuracy: Accuracy on the holdout.
        samples: Size of the holdout, above 0.
    """
    held_out = wilson_interval(holdout_accuracy, samples, Z_80)
    return Estimate(accuracy - held_out.value, accuracy - held_out.high, accuracy - held_out.low)


def estimate_risk(
    prediction: GapPrediction,
    accuracy: float,
    representation: str,
    holdout: Holdout | Skipped,
    levels: Sequence[float],
) -> Risk:
    """Return the risk without its drivers, which `gap_drivers` finds.

    Args:
        prediction: From `predict_gap`.
        accuracy: Training accuracy.
        representation: What samples are compared by, in words.
        holdout: Measured on samples that the model was not trained on, or why there are none.
        levels: Gaps from which the level is moderate, high, severe.
    """
    predicted = interval(prediction.gap, accuracy)
    gap = with_holdout(predicted, holdout) if isinstance(holdout, Holdout) else predicted
    return Risk(
        gap=gap,
        predicted=predicted,
        coverage=COVERAGE,
        level=risk_level(gap.value, levels),
        terms=_terms(prediction, accuracy, representation),
        drivers=(),
        holdout=holdout,
    )


def _terms(prediction: GapPrediction, accuracy: float, representation: str) -> tuple[RiskTerm, ...]:
    """Return the two terms that add up to the predicted gap."""
    unsupported = accuracy - prediction.agreement
    correction = prediction.agreement - prediction.accuracy
    direction = "better" if correction <= 0 else "worse"
    return (
        RiskTerm(
            "predictions without support from other samples",
            prediction.agreement,
            unsupported,
            f"Training accuracy: {percent(accuracy)}. The other samples, compared by {representation}, "
            f"support {percent(prediction.agreement)} of the model's predictions; layers that fit memorized "
            "labels are down-weighted.",
        ),
        RiskTerm(
            "correction from trained networks",
            prediction.accuracy,
            correction,
            "Trained networks with this agreement, training loss and number of samples were "
            f"{points(abs(correction))} points {direction} on new data than their agreement: "
            f"{percent(prediction.accuracy)} accuracy expected.",
        ),
    )


def preprocessing_warning(accuracy: float, leave_one_out_accuracy: float) -> str:
    """Return a warning if the model fits far fewer labels than similar samples predict; empty otherwise.

    Args:
        accuracy: Training accuracy.
        leave_one_out_accuracy: Share of the given labels that the other samples predict.
    """
    if accuracy > leave_one_out_accuracy - PREPROCESSING_MARGIN:
        return ""
    return (
        f"The training accuracy is {accuracy:.0%}, but similar samples predict {leave_one_out_accuracy:.0%} "
        "of the labels. If the accuracy was higher during training, the preprocessing or the transform "
        "differs from training: check both."
    )
