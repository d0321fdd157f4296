"""How much worse will the model do on new data? The generalization gap, from the training data alone.

Of every answer the model gives on its training data, the other samples say how probable it is, by those
layers that did not bend to the labels (`leave_one_out`). The mean of that is close to the accuracy on new
data; where the model does better than its neighbors alone, its loss and the number of samples tell how
much. Four numbers were fitted for that, and two for the classes, on half of a zoo of trained networks, and
tested on the other half: `benchmarks/generalization/risk.py`, docs/risk.md.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Estimate, Holdout, Risk, RiskTerm, Skipped
from cohaudit.results.gap import risk_level

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

COVERAGE = 0.8
"""Share of networks whose gap lies within the interval."""
HALF_WIDTH = 0.086
CLASS_HALF_WIDTH = 0.146
"""Half of the interval, of the model's gap and of a class's, in accuracy. From errors on families left out
while fitting, such that a network of a family never seen is covered (hierarchical conformal prediction: Lee,
Barber & Willett, arXiv 2306.06342)."""
INTERCEPT = -0.499
AGREEMENT = 0.872
LOSS = -0.233
DECADES = 0.278
"""Log-odds of the accuracy on new data: constant, per log-odds of agreement, per nat of the mean training
loss, per tenfold number of samples."""
CLASS_ACCURACY = 0.516
CLASS_AGREEMENT = -0.737
"""What a class's gap has more than the model's, per point that its training accuracy is above the mean, and
per point that its agreement is."""
FEWEST = 200
MOST = 3000
"""Samples of the smallest and largest training sets of the zoo; beyond, the number counts as these."""
SUREST = 0.99
"""Agreement is taken as no surer than this, and as no less than the rest to 1."""
NORMAL = 1.2815515655446004
"""Standard deviations of a normal distribution to either side that hold `COVERAGE` of it."""
FAR_BELOW = 0.1
"""A model that fits so much fewer of its training labels than the other samples predict was hardly trained,
or does not get its inputs as in training: that prediction is linear, and never sees the sample's own label.
"""


@dataclass(frozen=True)
class Prediction:
    """The gap as predicted, for the model and for each class.

    Attributes:
        agreement: Mean probability that the other samples give to the model's answers.
        accuracy: Expected on new data with right labels.
        gap: Training accuracy less that.
        classes: The same for each class, NaN where that has no sample, [C].
    """

    agreement: float
    accuracy: float
    gap: float
    classes: Array


def expected_accuracy(agreement: float, mean_loss: float, samples: int, classes: int) -> float:
    """Return the accuracy to be expected on new data.

    σ(a + b logit(x) + c ℓ + d log₁₀ N), with the fitted constants above.

    Args:
        agreement: x, the mean probability that the other samples give to the model's answers.
        mean_loss: ℓ of the training, in nats; counts at most as much as that of a guess, ln C.
        samples: N.
        classes: C.
    """
    x = min(max(agreement, 1 - SUREST), SUREST)
    loss = min(mean_loss, math.log(classes))
    decades = math.log10(min(max(samples, FEWEST), MOST))
    odds = INTERCEPT + AGREEMENT * math.log(x / (1 - x)) + LOSS * loss + DECADES * decades
    return 1 / (1 + math.exp(-odds))


def predict_gap(
    labels: Integers,
    predicted: Integers,
    cautious: Array,
    expected: Array,
    mean_loss: float,
    samples: int,
) -> Prediction:
    """Predict the gap between the accuracies in training and on new data.

    How much there is in all is told by layers that did not bend; how it is shared among the classes, by what
    most layers say.

    Args:
        labels: As given, [N].
        predicted: The model's answers, [N].
        cautious: Probability of each label by the other samples alone, by layers that did not bend, [N, C].
        expected: The same by most layers, [N, C].
        mean_loss: Of the training data, in nats.
        samples: That the model was trained on, of which N were measured.
    """
    count, classes = cautious.shape
    agreement = float(cautious[np.arange(count), predicted].mean())
    accuracy = expected_accuracy(agreement, mean_loss, samples, classes)
    gap = float(np.mean(labels == predicted)) - accuracy
    return Prediction(agreement, accuracy, gap, gap + _class_differences(labels, predicted, expected))


def _class_differences(labels: Integers, predicted: Integers, expected: Array) -> Array:
    """Return by how much each class's gap is above the model's, [C]; NaN for a class without a sample."""
    classes = expected.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    present = sizes > 0
    weights = sizes[present] / len(labels)
    features = np.zeros((2, int(present.sum())))
    for place, c in enumerate(np.flatnonzero(present).tolist()):
        features[0, place] = np.mean(predicted[labels == c] == c)
        features[1, place] = class_agreement(predicted, expected, c)
    features -= (features @ weights)[:, None]
    differences = np.full(classes, np.nan)
    differences[present] = np.array([CLASS_ACCURACY, CLASS_AGREEMENT]) @ features
    return differences


def class_agreement(predicted: Integers, expected: Array, label: int) -> float:
    """Return how far the other samples agree with the model on a class.

    The mean of two: of the samples that are of the class by the others' word, the share that the model finds;
    and of those that it takes for the class, how many are by the others' word.

    Args:
        predicted: The model's answers, [N].
        expected: As in `predict_gap`, [N, C].
        label: The class.
    """
    own = expected[:, label]
    taken = predicted == label
    found = float(own[taken].sum()) / max(float(own.sum()), 1e-12)
    right = float(own[taken].mean()) if taken.any() else 0.0
    return (found + right) / 2


def interval(gap: float, accuracy: float, half_width: float = HALF_WIDTH) -> Estimate:
    """Return the predicted gap with its interval; no accuracy on new data is below 0 or above 1.

    Args:
        gap: Training accuracy less accuracy on new data.
        accuracy: In training.
        half_width: Of the interval.
    """
    low = max(gap - half_width, accuracy - 1)
    high = min(gap + half_width, accuracy)
    return Estimate(gap, min(low, gap), max(high, gap))


def with_holdout(predicted: Estimate, holdout: Holdout) -> Estimate:
    """Return the gap by prediction and measurement, each weighted by its precision.

    Both count as normal, with the standard deviation that makes their interval; that of the measurement is
    as if there were one right and one wrong answer more, so that a few lucky samples do not count as certain.
    """
    spread = HALF_WIDTH / NORMAL
    n = holdout.samples
    share = (holdout.accuracy * n + 1) / (n + 2)
    noise = math.sqrt(share * (1 - share) / (n + 2))
    weight = spread**2 / (spread**2 + noise**2)
    value = (1 - weight) * predicted.value + weight * holdout.gap.value
    half = NORMAL * spread * noise / math.hypot(spread, noise)
    return interval(value, holdout.accuracy + holdout.gap.value, half)


def measured_gap(accuracy: float, holdout_accuracy: float, samples: int) -> Estimate:
    """Return a measured gap with the interval of the samples drawn (Wilson, JASA 1927), at `COVERAGE`.

    Args:
        accuracy: In training.
        holdout_accuracy: Of the samples held out.
        samples: Their number, above 0.
    """
    z = NORMAL**2 / samples
    center = (holdout_accuracy + z / 2) / (1 + z)
    half = math.sqrt(holdout_accuracy * (1 - holdout_accuracy) * z + z * z / 4) / (1 + z)
    gap = accuracy - holdout_accuracy
    low = accuracy - center - half
    high = accuracy - center + half
    return Estimate(gap, min(low, gap), max(high, gap))


def estimate_risk(
    found: Prediction,
    accuracy: float,
    representation: str,
    holdout: Holdout | Skipped,
    levels: Sequence[float],
) -> Risk:
    """Put the gap into words; what it comes from is told by `drivers`.

    Args:
        found: From `predict_gap`.
        accuracy: In training.
        representation: What the other samples see of a sample, in words.
        holdout: Samples that the model was not trained on, where some were given.
        levels: Gaps from which the level is moderate, high, severe.
    """
    predicted = interval(found.gap, accuracy)
    gap = with_holdout(predicted, holdout) if isinstance(holdout, Holdout) else predicted
    return Risk(
        gap=gap,
        predicted=predicted,
        coverage=COVERAGE,
        level=risk_level(gap.value, levels),
        terms=_terms(found, accuracy, representation),
        drivers=(),
        holdout=holdout,
    )


def _terms(found: Prediction, accuracy: float, representation: str) -> tuple[RiskTerm, ...]:
    alone = accuracy - found.agreement
    better = found.agreement - found.accuracy
    other = "better" if better <= 0 else "worse"
    return (
        RiskTerm(
            "answers that the rest of the data would not give",
            found.agreement,
            alone,
            f"The model gives {accuracy:.1%} of its training labels. Of all its answers there, the other "
            f"samples would give {found.agreement:.1%} themselves, by {representation}, as far as these "
            "have not bent to the labels.",
        ),
        RiskTerm(
            "what networks do beyond that",
            found.accuracy,
            better,
            f"Trained networks of this agreement, training loss and number of samples did "
            f"{100 * abs(better):.1f} points {other} on new data than that: {found.accuracy:.1%} are to be "
            "expected.",
        ),
    )


def preprocessing_warning(accuracy: float, leave_one_out_accuracy: float) -> str:
    """Return a warning when the model fits far less than its neighbors alone predict; empty when not.

    Args:
        accuracy: Training accuracy.
        leave_one_out_accuracy: Share of the given labels that the other samples predict.
    """
    if accuracy > leave_one_out_accuracy - FAR_BELOW:
        return ""
    return (
        f"The model gets {accuracy:.0%} of its own training labels, less than its neighbors alone predict "
        f"({leave_one_out_accuracy:.0%}): if training reached more, the preprocessing or the transform "
        "differs from training."
    )
