"""Whether the two verdicts became worse: the score on new data, and the share of wrong labels.

Two training runs on the same samples share what makes an estimate too high or too low, so that their
difference is known better than either. The bounds below come from the differences of runs of one recipe,
which differ in their seed alone: `python -m benchmarks.commands.regressions`.
"""

from __future__ import annotations

import math

from cohaudit.results import Audit, Estimate, Holdout, Skipped
from cohaudit.review.diff.difference import EstimateChange, Outcome, compare_estimates
from cohaudit.review.diff.label_changes import LabelChanges
from cohaudit.review.diff.ranking import FITTED
from cohaudit.review.verdicts import expected_score

SCORE_BOUND = 0.02
"""Difference of two expected scores, from the training data alone, from which one is clearly lower: the seed
moves it less in 95 of 100 pairs, on the data set where it moves most."""

MIN_COMMON = 0.5
"""Part of the larger audit's samples that both audits must have for `SCORE_BOUND` to hold."""

SHARE_BOUND = 0.015
"""Difference of two shares of wrong labels from which one is clearly higher; see `share_bound`."""

SHARE_FACTOR = 0.05
"""The same as a part of the larger share: large shares vary more with the seed."""

Z_ONE_SIDED = 1.645
"""Quantile of the normal distribution that 5 % lie beyond."""


def compare_scores(base: Audit, head: Audit, labels: LabelChanges | None) -> EstimateChange:
    """Compare the scores to expect on new data.

    Two audits with the same holdout are compared by what was measured there; two of the same samples, unless
    both networks fit the same labels, by `SCORE_BOUND`; others by whether their intervals overlap.

    Args:
        base: The earlier audit.
        head: The later audit.
        labels: Comparison of their labels; None when one of the audits judged no labels.
    """
    old = _score(base)
    new = _score(head)
    if old is None or new is None:
        return EstimateChange(old, new, "unknown")
    measured = _same_holdout(base, head)
    if measured is not None:
        before, after = measured
        # both are measured on the same samples, which makes the difference more certain than this
        bound = Z_ONE_SIDED * math.hypot(_error(before), _error(after))
        return EstimateChange(old, new, _outcome(after.accuracy - before.accuracy, bound))
    if _one_has_holdout(base, head):
        # one is measured, the other one predicted: their errors have nothing in common
        return compare_estimates(old, new)
    if _same_samples(base, head, labels) and not _fit_same_labels(base, head, labels):
        return EstimateChange(old, new, _outcome(new.value - old.value, SCORE_BOUND))
    return compare_estimates(old, new)


def _same_samples(base: Audit, head: Audit, labels: LabelChanges | None) -> bool:
    if base.subject.data_fingerprint == head.subject.data_fingerprint:
        return True
    most = max(len(base.samples), len(head.samples))
    return labels is not None and labels.compared >= MIN_COMMON * most


def _fit_same_labels(base: Audit, head: Audit, labels: LabelChanges | None) -> bool:
    """Return whether the expected score cannot tell which network is better: docs/same_data.md."""
    changed = labels is not None and labels.changed > 0
    return not changed and all(one.sanity.accuracy >= FITTED for one in (base, head))


def compare_wrong_labels(base: Audit, head: Audit, labels: LabelChanges | None) -> EstimateChange:
    """Compare the shares of wrong labels.

    Of the same samples, by the labels that changed alone; of others too, by the estimated shares, and only if
    both audits can tell which labels are wrong.

    Args:
        base: The earlier audit.
        head: The later audit.
        labels: Comparison of their labels; None when one of the audits judged no labels.
    """
    old = _told_share(base)
    new = _told_share(head)
    if labels is None:
        return EstimateChange(old, new, "unknown")
    if labels.more_wrong or labels.fewer_wrong:
        return EstimateChange(old, new, "higher" if labels.more_wrong else "lower")
    if base.subject.data_fingerprint == head.subject.data_fingerprint or labels.judged:
        # the labels are the same, or the changed ones balance: the estimates differ by the training run
        return EstimateChange(old, new, "alike")
    if old is None or new is None:
        return EstimateChange(old, new, "unknown")
    outcome = _outcome(new.value - old.value, share_bound(old.value, new.value))
    # the share can rise because others were removed, but no label became wrong
    return EstimateChange(old, new, "alike" if outcome == "higher" and not labels.added else outcome)


def share_bound(old: float, new: float) -> float:
    """Return the difference from which one of two shares of wrong labels is clearly higher."""
    return max(SHARE_BOUND, SHARE_FACTOR * max(old, new))


def _score(audit: Audit) -> Estimate | None:
    score = expected_score(audit)
    return None if isinstance(score, Skipped) or not audit.sanity.auditable else score


def _told_share(audit: Audit) -> Estimate | None:
    wrong = audit.labels.wrong
    return None if isinstance(wrong, Skipped) or not wrong.told else wrong.share


def _holdout(audit: Audit) -> Holdout | None:
    if isinstance(audit.risk, Skipped) or isinstance(audit.risk.holdout, Skipped):
        return None
    return audit.risk.holdout


def _same_holdout(base: Audit, head: Audit) -> tuple[Holdout, Holdout] | None:
    before = _holdout(base)
    after = _holdout(head)
    if before is None or after is None or before.data_fingerprint != after.data_fingerprint:
        return None
    return before, after


def _one_has_holdout(base: Audit, head: Audit) -> bool:
    return (_holdout(base) is None) != (_holdout(head) is None)


def _error(holdout: Holdout) -> float:
    """Return the standard error of a holdout's accuracy."""
    # one right and one wrong answer more than there are: a perfect score on few samples is not certain
    share = (holdout.accuracy * holdout.samples + 1) / (holdout.samples + 2)
    return math.sqrt(share * (1 - share) / (holdout.samples + 2))


def _outcome(rise: float, bound: float) -> Outcome:
    if abs(rise) < bound:
        return "alike"
    return "higher" if rise > 0 else "lower"
