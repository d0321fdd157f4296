"""The verdict on the labels, as data."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results.estimate import Skipped
from cohaudit.results.ranges import Count, Proportion


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
