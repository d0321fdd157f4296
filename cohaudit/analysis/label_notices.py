"""Notices about the verdict on the labels, each one sentence or two with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.results.wording import compact, percent

MIN_REPORTED_SHARE = 0.02
"""Share of wrong labels below which doubts about it are not reported."""

MAX_EMPTY_CLASSES_NAMED = 5
"""Classes without samples that a notice names."""

NEAR_THRESHOLD = 0.8
"""Suspicions from this fraction of the threshold on are nearly suspects."""


FEW_NEAR_THRESHOLD = 5
"""Up to this many near-suspects are not reported."""


def undetermined_notice(found: Suspicion) -> str:
    """Return a notice if wrong labels cannot be told from hard samples; empty otherwise."""
    share = found.share
    if share.determined or share.upper < MIN_REPORTED_SHARE:
        return ""
    return (
        f"Which labels are wrong cannot be told here: up to {percent(share.upper)} may be, but wrong labels "
        "look like correct labels of hard samples. No suspects are listed. Review some of the samples with "
        "the lowest rank: their labels show how many are wrong."
    )


def near_threshold_notice(found: Suspicion, threshold: float) -> str:
    """Return a notice if more samples lie just below the threshold than above; empty otherwise.

    Args:
        found: Verdict on every label.
        threshold: Suspicion from which a sample is a suspect.
    """
    if not found.share.determined:
        return ""
    suspects = int((found.probability >= threshold).sum())
    lower = NEAR_THRESHOLD * threshold
    near = int(((found.probability >= lower) & (found.probability < threshold)).sum())
    if near <= max(suspects, FEW_NEAR_THRESHOLD):
        return ""
    return (
        f"Samples with a suspicion of at least {compact(threshold)}: {suspects:,}. Between {compact(lower)} "
        f"and {compact(threshold)}: {near:,}. Look at some of the latter too, and lower "
        "--suspicion-threshold if their labels are wrong."
    )


def empty_classes_notice(labels: NDArray[np.int64], names: Sequence[str]) -> str:
    """Name the classes of the model that have no sample; '' if each has one.

    Args:
        labels: Given labels, [N].
        names: Class names, [C].
    """
    sizes = np.bincount(labels, minlength=len(names))
    empty = [name for name, size in zip(names, sizes, strict=True) if not size]
    if not empty:
        return ""
    shown = ", ".join(empty[:MAX_EMPTY_CLASSES_NAMED])
    more = len(empty) - MAX_EMPTY_CLASSES_NAMED
    return (
        f"{len(empty):,} of {len(sizes):,} classes have no sample, and nothing is measured of them: "
        f"{shown}{f' and {more:,} more' * (more > 0)}."
    )
