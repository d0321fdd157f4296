"""Notices about the verdict on the labels: when each is given, and with which numbers."""

from __future__ import annotations

import numpy as np
import pytest

from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.label_noise import NoiseShare
from cohaudit.analysis.label_notices import ambiguity_notice, confusion_notice, near_threshold_notice
from cohaudit.analysis.leave_one_out import Suspicion

CLEAR = NoiseShare(0.1, 0.12, 0.14)


def verdict(
    share: NoiseShare = CLEAR,
    probability: tuple[float, ...] = (0.0,),
    confused: ClassNoise | None = None,
) -> Suspicion:
    """Return a verdict of which only what the notices use is meant."""
    nothing = np.zeros(len(probability))
    labels = nothing.astype(np.int64)
    return Suspicion(
        probability=np.array(probability),
        evidence=nothing,
        expected=nothing,
        expected_low_overfit=nothing,
        overfit_share=nothing,
        disagreements=labels,
        memorization=nothing,
        margin=nothing,
        suggested=labels,
        accuracy=1.0,
        share=share,
        confused=confused,
        weights=nothing,
    )


@pytest.mark.parametrize(
    ("lower", "upper", "given"),
    [(0.1, 0.14, False), (0.001, 0.04, True), (0.03, 0.04, False), (0.0001, 0.01, False)],
)
def test_a_notice_warns_if_wrong_labels_may_be_hard_samples(lower: float, upper: float, given: bool) -> None:
    notice = ambiguity_notice(verdict(NoiseShare(lower, 0.0, upper)))
    assert bool(notice) == given
    assert not given or f"{lower:.1%} and {upper:.1%}" in notice


@pytest.mark.parametrize(
    ("counts", "numbers"),
    [
        ((3, 6, 4, 6), ("9", "10")),
        ((0, 1, 4, 6), ("1", "10")),
        ((0, 0, 0, 6), ("0", "6")),
        ((0, 0, 0, 5), None),
        ((30, 30, 4, 6), None),
    ],
)
def test_samples_that_pile_up_under_the_threshold_are_reported(
    counts: tuple[int, ...], numbers: tuple[str, str] | None
) -> None:
    probability = np.repeat([0.9, 0.5, 0.45, 0.4, 0.39], [*counts, 431])
    notice = near_threshold_notice(verdict(probability=tuple(probability)), 0.5)
    assert bool(notice) == (numbers is not None)
    if numbers is not None:
        suspects, near = numbers
        assert f"at least 0.5: {suspects}." in notice
        assert f"0.4 and 0.5: {near}." in notice


def test_confused_classes_are_named() -> None:
    transition = np.array([[0.79, 0.2, 0.01, 0.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    noise = ClassNoise(transition, np.eye(4), 0.1)
    notice = confusion_notice(verdict(confused=noise), ["shirt", "coat", "bag", "boot"])
    assert "20% of the samples that look like shirt are labeled coat" in notice
    assert "bag" not in notice, "a share of 1 % is not reported"
    assert confusion_notice(verdict(), ["shirt", "coat", "bag", "boot"]) == ""
