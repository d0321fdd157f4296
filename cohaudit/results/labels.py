"""The verdict on the labels, as data."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.ranges import Count, Proportion


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
