"""Whether the two verdicts became worse: the score on new data, and the share of wrong labels.

Two training runs on the same data share what makes an estimate too high or too low, so that their difference
is known better than either. The bounds below are those that the difference of two runs of one recipe, which
differ in their seed alone, stays within in 95 of 100 pairs: `python -m benchmarks.commands.regressions`.
"""

from __future__ import annotations

import math

from cohaudit.results import Audit, Estimate, Holdout, Skipped
from cohaudit.review.diff.difference import EstimateChange, Outcome, compare_estimates
from cohaudit.review.diff.ranking import FITTED
from cohaudit.review.verdicts import expected_score

SCORE_BOUND = 0.03
"""Difference of two expected scores, from the training data alone, from which one is clearly lower."""

SHARE_BOUND = 0.015
"""Difference of two shares of wrong labels from which one is clearly higher; see `share_bound`."""

SHARE_FACTOR = 0.05
"""The same as a part of the larger share: large shares vary more with the seed."""

Z_ONE_SIDED = 1.645
"""Quantile of the normal distribution that 5 % lie beyond."""


def compare_scores(base: Audit, head: Audit) -> EstimateChange:
    """Compare the scores to expect on new data.

    Two audits with the same holdout are compared by what was measured there; two of the same data, unless
    both networks fit it, by `SCORE_BOUND`; others by whether their intervals overlap.
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
    same_data = base.subject.data_fingerprint == head.subject.data_fingerprint
    # of two networks that fit the same data, the expected score does not tell the better: docs/same_data.md
    if same_data and not all(one.sanity.accuracy >= FITTED for one in (base, head)):
        return EstimateChange(old, new, _outcome(new.value - old.value, SCORE_BOUND))
    return compare_estimates(old, new)


def compare_wrong_labels(base: Audit, head: Audit) -> EstimateChange:
    """Compare the shares of wrong labels; unknown unless both audits can tell which labels are wrong."""
    old = _told_share(base)
    new = _told_share(head)
    if old is None or new is None:
        return EstimateChange(old, new, "unknown")
    return EstimateChange(old, new, _outcome(new.value - old.value, share_bound(old.value, new.value)))


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
