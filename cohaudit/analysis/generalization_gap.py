"""How much worse will the model do on new data? The gap, which follows from the expected score.

The gap is training accuracy minus the accuracy that `expected_score` expects on new data. It is divided among
the classes by two numbers that were fitted on trained networks: docs/risk.md.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.expected_score import (
    COVERAGE,
    JUDGED_ERROR,
    ExpectedScore,
    combine,
    sampling_error,
)
from cohaudit.analysis.score_rows import ScoreRows, score_blocks
from cohaudit.results import Estimate, Holdout, Risk, RiskTerm, Skipped
from cohaudit.results.gap import risk_level
from cohaudit.results.wording import percent

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

CLASS_HALF_WIDTH = 0.146
"""Half of the interval of a class's gap, in accuracy: it held four in five gaps of classes of networks that
the model's gap was predicted for by an earlier formula (docs/risk.md)."""

CLASS_ACCURACY = 0.516
"""How much a class's gap exceeds the model's, per unit that its training accuracy is above the mean."""

CLASS_AGREEMENT = -0.737
"""How much a class's gap exceeds the model's, per unit that its agreement is above the mean."""

PREPROCESSING_MARGIN = 0.1
"""A training accuracy this far below what the other samples predict means that the model was hardly trained,
or does not get its inputs as in training: that prediction is linear and never sees the sample's own label."""


@dataclass(frozen=True)
class GapPrediction:
    """The gap as predicted, for the model and for each class.

    Attributes:
        accuracy: Training accuracy.
        score: Expected score, from the training data alone.
        classes: Gap of each class, NaN for a class without samples, [C].
    """

    accuracy: float
    score: ExpectedScore
    classes: Array

    @property
    def gap(self) -> Estimate:
        """Training accuracy minus expected accuracy on new data with right labels."""
        return gap_to(self.accuracy, self.score.right)


def gap_to(accuracy: float, score: Estimate) -> Estimate:
    """Return the gap between a training accuracy and a score on other data.

    Args:
        accuracy: Training accuracy.
        score: Accuracy on other data.
    """
    return Estimate(accuracy - score.value, accuracy - score.high, accuracy - score.low)


def predict_gap(
    labels: Integers, predicted: Integers, score: ExpectedScore, expected: ScoreRows
) -> GapPrediction:
    """Predict the gap between training accuracy and accuracy on new data with right labels.

    Args:
        labels: Given labels, [N].
        predicted: The model's predictions, [N].
        score: Expected score.
        expected: Probability of each label from the other samples, by the network's layers, [N, C]. They tell
            how the gap divides among the classes: only differences count there.
    """
    accuracy = float(np.mean(labels == predicted))
    gap = accuracy - score.right.value
    return GapPrediction(accuracy, score, gap + _class_differences(labels, predicted, expected))


def _class_differences(labels: Integers, predicted: Integers, expected: ScoreRows) -> Array:
    """Return by how much each class's gap exceeds the model's, [C]; NaN for a class without samples."""
    classes = expected.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    present = sizes > 0
    weights = sizes[present] / len(labels)
    right = np.bincount(labels, labels == predicted, minlength=classes)
    features = np.stack([right[present] / sizes[present], class_agreement(predicted, expected)[present]])
    # centered by class size, so that the classes' gaps average to the model's
    features -= (features @ weights)[:, None]
    differences = np.full(classes, np.nan)
    differences[present] = np.array([CLASS_ACCURACY, CLASS_AGREEMENT]) @ features
    return differences


def class_agreement(predicted: Integers, expected: ScoreRows) -> Array:
    """Return how far the other samples agree with the model on each class, 0 to 1, [C].

    The mean of a recall and a precision, with the other samples' probabilities in place of labels: of the
    samples expected in the class, the share that the model puts there; and of those that the model puts
    there, the share expected in it.

    Args:
        predicted: The model's predictions, [N].
        expected: As in `predict_gap`, [N, C].
    """
    classes = expected.shape[1]
    mass, shared = np.zeros(classes), np.zeros(classes)
    for rows, block in score_blocks(expected):
        answers = predicted[rows]
        mass += block.sum(0, dtype=np.float64)
        own = block[np.arange(len(block)), answers]
        shared += np.bincount(answers, own, minlength=classes)
    # the floors avoid 0 / 0 for a class that the other samples, or the model, never expect
    recall = shared / np.maximum(mass, 1e-12)
    precision = shared / np.maximum(np.bincount(predicted, minlength=classes), 1)
    agreement: Array = (recall + precision) / 2
    return agreement


def class_gap(gap: float, accuracy: float) -> Estimate:
    """Return a class's gap with its interval, cut off so that the accuracy on new data is in [0, 1].

    Args:
        gap: The class's training accuracy minus its accuracy on new data.
        accuracy: The class's training accuracy.
    """
    # a gap below accuracy − 1, or above accuracy, would mean an accuracy outside 0 to 1
    low = max(gap - CLASS_HALF_WIDTH, accuracy - 1)
    high = min(gap + CLASS_HALF_WIDTH, accuracy)
    return Estimate(gap, min(low, gap), max(high, gap))


def estimate_risk(
    prediction: GapPrediction,
    representation: str,
    holdout: Holdout | Skipped,
    levels: Sequence[float],
) -> Risk:
    """Return the risk without its drivers, which `gap_drivers` finds.

    Args:
        prediction: From `predict_gap`.
        representation: What samples are compared by, in words.
        holdout: Measured on samples that the model was not trained on.
        levels: Gaps from which the level is moderate, high, severe.
    """
    right = with_holdout(prediction.score, holdout)
    gap = gap_to(prediction.accuracy, right)
    return Risk(
        expected=right,
        expected_given=prediction.score.given,
        gap=gap,
        predicted=prediction.gap,
        coverage=COVERAGE,
        level=risk_level(gap.value, levels),
        terms=_terms(prediction, representation),
        drivers=(),
        holdout=holdout,
    )


def with_holdout(score: ExpectedScore, holdout: Holdout | Skipped) -> Estimate:
    """Return the expected score against right labels, from prediction and holdout together.

    The holdout's labels are judged. Where that cannot be done, they count as right. The score against labels
    as given in the training data stays as predicted: a holdout may have been labeled with more care.

    Args:
        score: From the training data alone.
        holdout: Measured on samples that the model was not trained on, or why there are none.
    """
    if isinstance(holdout, Skipped):
        return score.right
    error = sampling_error(holdout.accuracy, holdout.samples)
    right = holdout.right_accuracy
    if isinstance(right, Skipped):
        return combine(score.right, score.half_width, holdout.accuracy, error)
    judged = math.hypot(sampling_error(right.value, holdout.samples), JUDGED_ERROR)
    return combine(score.right, score.half_width, right.value, judged)


def _terms(prediction: GapPrediction, representation: str) -> tuple[RiskTerm, ...]:
    """Return the two terms that add up to the predicted gap."""
    accuracy = prediction.accuracy
    score = prediction.score
    unsupported = accuracy - score.support
    correction = score.support - score.right.value
    direction = "better" if correction <= 0 else "worse"
    alike = "this support"
    if score.flatness is not None:
        stay = percent(score.flatness.unchanged.value)
        alike = f"this support, of whose answers {stay} stay with noise in the weights,"
    return (
        RiskTerm(
            "predictions without support from other samples",
            score.support,
            unsupported,
            f"Training accuracy: {percent(accuracy)}. The other samples, compared by {representation}, "
            f"support {percent(score.support)} of the model's predictions; layers that fit memorized "
            "labels are down-weighted.",
        ),
        RiskTerm(
            "correction from trained networks",
            score.right.value,
            correction,
            f"Trained networks with {alike} did {direction} on new data: "
            f"{percent(score.right.value)}, from the training data alone.",
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
