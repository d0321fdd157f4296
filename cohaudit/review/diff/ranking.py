"""Which of two fitted networks of the same data is probably better on new data.

Where both fit their labels, neither the training accuracy nor the predicted gap tells them apart. What
does, a little, is how many answers stay when noise is added to the weights; docs/same_data.md has how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.analysis.expected_score import stay_odds
from cohaudit.analysis.log_odds import probability_of as sigmoid
from cohaudit.results import Audit, Flatness, Skipped

FITTED = 0.95
"""Training accuracy from which on a network counts as fitted: what the ranking was tested on."""

SLOPE = 0.8
"""Log-odds that the head is better, per unit of the log-odds that an answer stays; fitted by
`python -m benchmarks.same_data`."""

TOLD = 0.75
"""Probability from which on one network is called better; below it, it cannot be told."""

Better = Literal["base", "head", ""]
"""The network that is probably better on new data; empty where it cannot be told."""


@dataclass(frozen=True)
class Ranking:
    """Which of two networks of the same data is probably better on new data."""

    better: Better
    """The network that is probably better; empty where it cannot be told."""
    head_better: float | None
    """Probability that the head is better, in [0, 1]; None where nothing is known."""
    reason: str
    """One sentence in plain words, with the number in it."""


def rank(base: Audit, head: Audit) -> Ranking | None:
    """Say which of two fitted networks of the same data is probably better on new data.

    Args:
        base: The earlier audit.
        head: The later audit.

    Returns:
        The ranking; None unless both audits are of the same samples with the same labels, and both networks
        fit them.
    """
    same = base.subject.data_fingerprint == head.subject.data_fingerprint
    if not same or base.subject.samples != head.subject.samples:
        return None
    if not all(one.sanity.auditable and one.sanity.accuracy >= FITTED for one in (base, head)):
        return None
    before = base.audits.flatness
    after = head.audits.flatness
    if isinstance(before, Skipped) or isinstance(after, Skipped):
        return Ranking(
            "",
            None,
            "Both networks fit the same data: the training data alone does not tell which is better on new "
            "data. A holdout does; scans with --audits flatness tell a little.",
        )
    probability = probability_of(log_odds(after) - log_odds(before))
    better: Better = "head" if probability >= TOLD else "base" if probability <= 1 - TOLD else ""
    shares = f"{after.unchanged.value:.1%} of its answers stay, {before.unchanged.value:.1%} of the base's"
    if not better:
        return Ranking(
            better,
            probability,
            "Both networks fit the same data: which is better on new data cannot be told without a holdout. "
            f"With noise in the head's weights, {shares}.",
        )
    sure = max(probability, 1 - probability)
    return Ranking(
        better,
        probability,
        f"The {better} is probably better on new data ({sure:.0%}): with noise in the head's weights, "
        f"{shares}.",
    )


def log_odds(flatness: Flatness) -> float:
    """Return the log-odds that an answer stays, as if one more had stayed and one more had changed."""
    return stay_odds(flatness.unchanged.value, flatness.samples)


def probability_of(rise: float) -> float:
    """Return the probability that the head is better on new data.

    Args:
        rise: Log-odds that an answer of the head stays minus those of the base.
    """
    return float(sigmoid(SLOPE * rise))
