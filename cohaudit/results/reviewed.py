"""What a person said about labels, and what the audit concludes from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.ranges import Count

SHORT_HASH_DIGITS = 16
"""Hexadecimal digits of a sample's hash that the table of samples and files of answers hold: 64 bits, so that
two of a billion different inputs share one with a probability of 3 %."""

ANSWERS = ("right", "wrong", "unsure")
"""What a person can say about a label."""

# a Literal takes no constant, so that the answers stand here again
AnswerName = Literal["right", "wrong", "unsure"]
"""What a person said about a label."""


@dataclass(frozen=True)
class Answer:
    """What a person said about the label of a sample."""

    content: str
    """Hash of the sample's input, 16 hexadecimal digits: the column `content` of the table of samples."""
    label: str
    """The label that was asked about."""
    answer: AnswerName
    """Whether it is right."""
    true_label: str = ""
    """The right label of a wrong one; empty when the person did not say."""
    id: str = ""
    """Id of the sample, for people."""


@dataclass(frozen=True)
class ReviewCalibration:
    """How a person's answers changed the verdict on the labels."""

    file: str
    """File of the answers, as given."""
    right: Count
    """Reviewed labels that are right; equal samples with one label count once, here and below."""
    wrong: Count
    """Reviewed labels that are wrong."""
    unsure: Count
    """Reviewed labels of which the person could not tell; they count as not reviewed."""
    unmatched: Count
    """Answers about no audited sample: another input, or another label."""
    wrong_share: Estimate | Skipped
    """Share of wrong labels among the audited samples, with its 90 % interval; skipped with too few
    answers."""
    precision: Estimate | Skipped
    """Share of the suspects whose label is wrong, with its 90 % interval; skipped with too few answers, and
    when there are no suspects."""


def short_hash(content: str) -> str:
    """Return the first 16 digits of a sample's hash.

    Args:
        content: The hash, 'sha256:' and 64 hexadecimal digits.
    """
    return content.removeprefix("sha256:")[:SHORT_HASH_DIGITS]
