"""Notices about the verdict on the labels, each one sentence or two with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from cohaudit.analysis.class_conditional_noise import most_confused
from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.results.wording import compact, percent

AGREEING_BOUNDS = 0.25
"""Lower over upper estimate of the share of wrong labels from which on the two agree."""

MIN_REPORTED_SHARE = 0.02
"""Share of wrong labels, or of a confused class, below which it is not reported."""

NEAR_THRESHOLD = 0.8
"""Suspicions from this fraction of the threshold on are nearly suspects."""

FEW_NEAR_THRESHOLD = 5
"""Up to this many near-suspects are not reported."""

MAX_NAMED_CONFUSIONS = 3
"""Confused pairs of classes that are named, the most frequent ones."""


def ambiguity_notice(found: Suspicion) -> str:
    """Return a notice if wrong labels cannot be told from hard samples; empty otherwise."""
    lower = found.share.lower
    upper = found.share.upper
    if upper < MIN_REPORTED_SHARE or lower > AGREEING_BOUNDS * upper:
        return ""
    return (
        f"Between {percent(lower)} and {percent(upper)} of the labels may be wrong: samples that look "
        "mislabeled may also be hard samples with correct labels. Look at some of the samples with the "
        "lowest loo_margin before you act on the list."
    )


def near_threshold_notice(found: Suspicion, threshold: float) -> str:
    """Return a notice if more samples lie just below the threshold than above; empty otherwise.

    Suspicions scale with the estimated share of wrong labels. If that estimate is too low, the clearest
    suspects pile up just below the threshold.

    Args:
        found: Verdict on every label.
        threshold: Suspicion from which a sample is a suspect.
    """
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


def confusion_notice(found: Suspicion, names: Sequence[str]) -> str:
    """Return which classes are confused with which; empty if label errors look random.

    Args:
        found: Verdict on every label.
        names: Class names, [C].
    """
    if found.confused is None:
        return ""
    pairs = [
        f"{share:.0%} of the samples that look like {names[t]} are labeled {names[g]}"
        for t, g, share in most_confused(found.confused, MAX_NAMED_CONFUSIONS)
        if share >= MIN_REPORTED_SHARE
    ]
    return (
        f"Some classes are confused with others: {', '.join(pairs)}. This explains the labels better than "
        "random errors do, and the suspicions take it into account."
    )
