"""Notices about the verdict on the labels: when each is given, and with which numbers."""

from __future__ import annotations

import numpy as np
import pytest

from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.label_notices import near_threshold_notice, undetermined_notice
from cohaudit.analysis.label_verdict import NoiseShare
from cohaudit.analysis.leave_one_out import Suspicion

NOISE = ClassNoise(np.zeros(2), np.zeros((1, 2)), np.zeros((1, 2)))
CLEAR = NoiseShare(0.1, 0.12, 0.14, determined=True)


def verdict(
    share: NoiseShare = CLEAR,
    probability: tuple[float, ...] = (0.0,),
) -> Suspicion:
    """Return a verdict of which only what the notices use is meant."""
    nothing = np.zeros(len(probability))
    labels = nothing.astype(np.int64)
    return Suspicion(
        probability=np.array(probability),
        evidence=nothing,
        expected=nothing,
        expected_by_layers=nothing,
        overfit_share=nothing,
        disagreements=labels,
        memorization=nothing,
        margin=nothing,
        suggested=labels,
        suggestion=nothing,
        accuracy=1.0,
        share=share,
        determined=float(share.determined),
        weights=nothing,
        noise=NOISE,
        noise_without_crossfit=NOISE,
    )


@pytest.mark.parametrize(
    ("upper", "determined", "given"), [(0.14, True, False), (0.14, False, True), (0.019, False, False)]
)
def test_a_notice_says_that_wrong_labels_cannot_be_told(upper: float, determined: bool, given: bool) -> None:
    notice = undetermined_notice(verdict(NoiseShare(0.0, 0.01, upper, determined)))
    assert bool(notice) == given
    assert not given or "up to 14.0% may be" in notice


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


def test_samples_near_the_threshold_are_not_reported_where_nobody_is_a_suspect() -> None:
    probability = (0.45,) * 30
    assert near_threshold_notice(verdict(CLEAR, probability), 0.5)
    unknown = NoiseShare(0, 0.1, 0.2, determined=False)
    assert near_threshold_notice(verdict(unknown, probability), 0.5) == ""
