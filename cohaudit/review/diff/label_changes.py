"""Labels that changed between two audits: are they more often wrong than before, or less?

A label that did not change, of a sample that did not change, is as right or as wrong as it was, whatever
another training run makes of it. What the seed moves cancels if only changed labels are compared: each with
the label that the same sample had before, by its place in the order of suspicion. That order exists where it
cannot be told which labels are wrong, too. docs/comparing.md has how often it is right.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results import Audit
from cohaudit.review.diff.samples import match_samples
from cohaudit.review.diff.suspects import sign_test

SIGNIFICANCE = 0.05
"""Probability below which the balance of the changed labels is not explained by chance."""

MIN_EFFECT = 0.005
"""Balance of the changed labels, as a share of the compared samples, from which it counts: a correction of a
few hard samples is not judged by what a network makes of them."""

MAX_CHANGED = 0.5
"""Share of changed labels up to which they are compared: beyond it, classes have been renamed, or the data
was labeled anew, and the places in the two orders have little in common."""


@dataclass(frozen=True)
class LabelChanges:
    """Labels of the same samples in two audits."""

    compared: int
    """Number of samples in both audits, matched by the hash of their input."""
    added: int
    """Number of samples of the head that the base does not have."""
    changed: int
    """Number of compared samples with another label in the head."""
    worse: int
    """Number of changed labels that are more suspicious, by rank, than the label before."""
    better: int
    """Number of changed labels that are less suspicious than the label before."""
    more_wrong: bool
    """Whether so many are worse that chance does not explain it: more labels are wrong."""
    fewer_wrong: bool
    """The same for those that are better: fewer labels are wrong."""
    judged: bool
    """Whether the changed labels alone decide: every sample is in both audits, and not too many labels are
    new."""


def compare_labels(base: Audit, head: Audit) -> LabelChanges:
    """Compare the labels of the samples that both audits have.

    Args:
        base: The earlier audit; its labels were judged.
        head: The later audit; its labels were judged.
    """
    both = match_samples(base, head)
    # of an edited sample, the label may be another one because the input is
    both = both[both["content_base"] == both["content_head"]]
    changed = both[both["label_base"] != both["label_head"]]
    worse = int((changed["place_head"] < changed["place_base"]).sum())
    better = int((changed["place_head"] > changed["place_base"]).sum())
    comparable = 0 < len(changed) <= MAX_CHANGED * len(both)
    return LabelChanges(
        compared=len(both),
        added=len(head.samples) - len(both),
        changed=len(changed),
        worse=worse,
        better=better,
        more_wrong=comparable and is_clear(worse, better, len(both)),
        fewer_wrong=comparable and is_clear(better, worse, len(both)),
        judged=comparable and len(both) == len(base.samples) == len(head.samples),
    )


def is_clear(most: int, others: int, compared: int) -> bool:
    """Return whether most changed labels moved one way, by more than chance and by enough.

    By the sign test (Conover, Practical Nonparametric Statistics, 3.4), one-sided, and `MIN_EFFECT`.

    Args:
        most: Number of changed labels that moved that way.
        others: Number of those that moved the other way.
        compared: Number of compared samples.
    """
    return most - others >= MIN_EFFECT * compared and sign_test(most, others) <= SIGNIFICANCE
