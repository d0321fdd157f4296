"""The verdict on the labels, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.gap import Level, risk_level
from cohaudit.results.ranges import Count, Proportion
from cohaudit.results.wording import percent

LabelLevel = Literal[Level, "unclear"]
"""Level of the verdict on the labels; unclear where too many may be wrong, and it cannot be told which."""

LOWEST_BOUND = 0.001
"""Upper bounds of the share of wrong labels are written no smaller than this."""


@dataclass(frozen=True)
class WrongLabels:
    """How many labels are wrong, and whether it can be told which."""

    share: Estimate
    """Share of wrong labels, in [0, 1], with the bounds that held it in nine of ten data sets whose wrong
    labels are known. Where `told` is false, the lower bound is 0 and the value is a guess."""
    disputed: Proportion
    """Share of labels for which the other samples suggest another label."""
    determined: Proportion
    """Part of the disputed labels that have to be wrong: the rest may belong to hard samples."""
    told: bool
    """Whether wrong labels can be told from correct labels of hard samples; if not, there are no suspects."""
    level: LabelLevel
    """The share in words; see the setting `label_levels`."""


@dataclass(frozen=True)
class LabelSummary:
    """How many labels are suspects, and how many of the suspects are probably wrong.

    A number that was not measured is a `Skipped` with the reason.
    """

    samples: Count
    """Number of samples audited."""
    suspects: Count | Skipped
    """Number of suspects; skipped when no label was judged."""
    suppressed: Count
    """Number of samples that would be suspects, had no person confirmed their labels."""
    expected_precision: Proportion | Skipped
    """Expected share of the suspects whose label is wrong, in [0, 1]: the mean of their suspicions. Skipped
    when there are no suspects."""
    wrong: WrongLabels | Skipped
    """How many labels are wrong; skipped when no label was judged."""


def label_level(share: Estimate, told: bool, levels: Sequence[float]) -> LabelLevel:
    """Return the level of a share of wrong labels.

    Args:
        share: The share with its bounds.
        told: Whether it can be told which labels are wrong; if not, only the upper bound means something.
        levels: The shares at which moderate, high, and severe begin, in rising order.
    """
    if told:
        return risk_level(share.value, levels)
    # few enough even if all that may be wrong are
    return "low" if share.high < levels[0] else "unclear"


def format_wrong_labels(wrong: WrongLabels) -> str:
    """Return how many labels are wrong, and if it cannot be told which, what to do, in a sentence or two."""
    share = wrong.share
    if wrong.told:
        return f"about {percent(share.value)} ({percent(share.low)} to {percent(share.high)})"
    upper = f"at most {percent(max(share.high, LOWEST_BOUND))}"
    if wrong.disputed == 0:
        return f"{upper}; for no sample do the others suggest another label"
    return f"{upper}; which ones cannot be told here. Review the samples with the lowest rank in samples.csv."
