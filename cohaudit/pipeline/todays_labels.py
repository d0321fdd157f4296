"""The verdict on the labels of today: what the scan found, a person's answers, and earlier corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.corrected_labels import shifted
from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.config import Config
from cohaudit.pipeline.corrected_labels import NOT_CORRECTED, restate
from cohaudit.pipeline.observations import Observations
from cohaudit.pipeline.reviewed_labels import NOT_REVIEWED, apply_answers, is_calibrated
from cohaudit.results import Corrections, Estimate, ReviewCalibration, Skipped


@dataclass(frozen=True)
class TodaysLabels:
    """The verdict on the labels.

    Attributes:
        suspicion: How suspect each label of today is; None if no layer gives a representation.
        given: The same of the labels as they were given first; equal without an earlier correction.
        calibration: What a person's review says about it.
        corrections: What an earlier correction says.
    """

    suspicion: Suspicion | None = None
    given: Suspicion | None = None
    calibration: ReviewCalibration | Skipped = NOT_REVIEWED
    corrections: Corrections | Skipped = NOT_CORRECTED


def given_labels(seen: Observations) -> NDArray[np.int64]:
    """Return the labels that the samples were given first, [N]."""
    return seen.source.labels if seen.corrected is None else seen.corrected.given


def todays_labels(found: Suspicion, seen: Observations, config: Config) -> TodaysLabels:
    """Return the verdict on the labels of today.

    Args:
        found: What the scan says of the labels as they were given first.
        seen: Answers, corrections and labels.
        config: Settings; they give threshold and seed.
    """
    names = seen.source.class_names
    given, calibration = apply_answers(found, seen.review, given_labels(seen), names, config)
    if seen.corrected is None:
        return TodaysLabels(given, given, calibration)
    unnamed = () if seen.review is None else seen.review.wrong_today
    suspicion, corrections = restate(given, seen.corrected, unnamed, calibrated=is_calibrated(calibration))
    calibration = _calibration_of_today(calibration, suspicion, config.suspicion_threshold)
    return TodaysLabels(suspicion, given, calibration, corrections)


def _calibration_of_today(
    found: ReviewCalibration | Skipped, today: Suspicion, threshold: float
) -> ReviewCalibration | Skipped:
    """Return what answers say, restated for labels that were changed since they were given.

    Args:
        found: What they say of the labels as they were given first.
        today: The verdict on the labels of today.
        threshold: Suspicion from which a sample is a suspect.
    """
    if isinstance(found, Skipped) or isinstance(found.wrong_share, Skipped):
        return found
    share = today.share
    suspect = today.probability >= threshold
    precision: Estimate | Skipped = Skipped("precision of the suspects", "there are no suspects")
    if suspect.any():
        value, low, high = (
            float(each[suspect].mean())
            for each in (
                today.probability,
                shifted(today.probability, share.lower),
                shifted(today.probability, share.upper),
            )
        )
        precision = Estimate(value, min(low, value), max(high, value))
    return replace(found, wrong_share=Estimate(share.estimate, share.lower, share.upper), precision=precision)
