"""How many wrong labels are left once some were changed: counted by what was known before the change.

A label that was changed is wrong if the new label is; one that was not is wrong as it was before. Both
follow from the verdict on the labels as they were given. Looking at the changed labels again would not do:
they agree with the others because they were made from them.

Arrays: N samples. Nothing here knows a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.log_odds import log_odds, probability_of
from cohaudit.analysis.quantiles import Z_90
from cohaudit.results import Estimate

Array = NDArray[np.float64]

LARGEST_SHIFT = 30.0
"""Largest shift of log-odds tried: it moves every probability of a float64 scan to 0 or 1."""

HALVINGS = 60
"""Steps of the bisection for the shift: more than a float64 can tell apart."""


def likelier_to_help(wrong: Array, new_right: Array) -> NDArray[np.bool_]:
    """Return which labels a change is likelier to correct than to break, [N].

    It corrects a label if that is wrong and the new one right, and breaks it if it is right. If both labels
    are wrong, the change does neither.

    Args:
        wrong: Probability that the label is wrong, [N].
        new_right: Probability that the new label is right, [N].
    """
    helps: NDArray[np.bool_] = new_right > 1 - wrong
    return helps


def wrong_after(wrong: Array, new_right: Array, changed: NDArray[np.bool_]) -> Array:
    """Return the probability that each label is wrong after the change, [N].

    Args:
        wrong: Probability that the label is wrong before, [N].
        new_right: Probability that the new label is right, for those changed, [N].
        changed: Which labels are changed, [N].
    """
    after: Array = np.where(changed, 1 - new_right, wrong)
    return after


def expected_remainder(
    wrong: Array,
    new_right: Array,
    changed: NDArray[np.bool_],
    share: Estimate,
    kept: NDArray[np.bool_] | None = None,
) -> Estimate:
    """Return the share of labels that are wrong after a change, with its interval.

    The value is the mean of `wrong_after`. The bounds of the share before the change say how far all
    probabilities may be off together: they are shifted in their log-odds until their mean is the bound. More
    wrong labels mean more of them among the unchanged, and fewer right ones among the changed. Which of these
    errors a data set has is not known, so that both count against the estimate. Beyond that each label is
    right or wrong by itself (normal approximation).

    Args:
        wrong: Probability that the label is wrong before, [N].
        new_right: Probability that the new label is right, for those changed, [N].
        changed: Which labels are changed, [N].
        share: Share of wrong labels before, with the bounds that are meant to hold it in 9 of 10 data sets.
        kept: Which samples are not left out, [N]; all if not given.
    """
    kept = np.ones(len(wrong), dtype=bool) if kept is None else kept
    count = int(kept.sum())
    if not count:
        return Estimate(0.0, 0.0, 0.0)
    unchanged = kept & ~changed
    replaced = kept & changed
    after = wrong_after(wrong, new_right, changed)[kept]
    spread = Z_90 * float(np.sqrt((after * (1 - after)).sum()))
    # the new label's probability moves with that of a wrong one, of which it is a part
    part = new_right[replaced] / np.maximum(wrong[replaced], np.finfo(float).tiny)
    left, broken = [], []
    for bound in (share.low, share.high):
        moved = shifted(wrong, bound)
        left.append(float(moved[unchanged].sum()))
        broken.append(float((1 - np.minimum(moved[replaced] * part, 1)).sum()))
    value = float(after.sum())
    low = max(min(left) + min(broken) - spread, 0)
    high = min(max(left) + max(broken) + spread, count)
    return Estimate(value / count, min(low, value) / count, max(high, value) / count)


def shifted(probability: Array, mean: float) -> Array:
    """Return probabilities with this mean, or the nearest one, all log-odds moved by one number, [N].

    Args:
        probability: Probabilities; those of 0 and 1 stay as they are, [N].
        mean: The mean that they shall have.
    """
    open_to_doubt = (probability > 0) & (probability < 1)
    # what a person settled stays as it is
    total = mean * len(probability) - float((probability == 1).sum())
    odds = log_odds(probability[open_to_doubt])
    low, high = -LARGEST_SHIFT, LARGEST_SHIFT
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(probability_of(odds + middle).sum()) < total else (low, middle)
    shifted = probability.copy()
    shifted[open_to_doubt] = probability_of(odds + (low + high) / 2)
    return shifted
