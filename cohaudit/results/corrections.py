"""Corrected labels, as data: what was changed, by what evidence, and how many wrong labels should be left.

The file beside corrected data consists of `LabelChange` and `CorrectionRound`; an audit of that data holds
`Corrections`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.results.estimate import Estimate
from cohaudit.results.ranges import Count, Proportion
from cohaudit.results.wording import percent

CHANGED_BY = ("audit", "list", "review")
"""Who said what a label should be."""

# a Literal takes no constant, so that the names stand here again
ChangedBy = Literal["audit", "list", "review"]
"""Who said what a label should be: the audit alone; a person's list of fixes; or a person who answered about
a label that the audit chose, whose answers say something of the other labels too."""


@dataclass(frozen=True)
class LabelChange:
    """A sample whose label was changed, or was found right by a person."""

    content: str
    """Hash of the sample's input, 16 hexadecimal digits: the column `content` of the table of samples."""
    id: str
    """Id of the sample in the corrected data."""
    given: str
    """Label that the sample had before the first correction."""
    label: str
    """Label that it has now; the same if a person found it right."""
    wrong: Proportion
    """Probability that the label it has now is wrong, by the audit that it was changed by, in [0, 1]."""
    by: ChangedBy
    """Who said so."""
    round: Count
    """Number of the correction, from 1."""


@dataclass(frozen=True)
class CorrectionRound:
    """One correction of the data."""

    audit: str
    """The audit that it was made by: version, checkpoint, and the beginnings of the SHA-256 of checkpoint and
    data."""
    samples: Count
    """Number of samples in the corrected data."""
    relabeled: Count
    """Number of labels that this correction changed."""
    removed: Count
    """Number of samples that it left out."""
    by_audit: Count
    """Number of those changed or left out by the audit alone."""
    wrong_changes: Proportion
    """Expected share of the changed labels that are wrong; of samples left out, share with right labels."""
    told: bool
    """Whether the audit could tell wrong labels from correct labels of hard samples."""
    remainder: Estimate
    """Expected share of wrong labels among the audited samples of the corrected data."""


@dataclass(frozen=True)
class Corrections:
    """What an earlier correction of the data says about its labels.

    Labels that the audit alone changed are no evidence: they are what was concluded from other labels. A scan
    therefore judges by the labels that were given first, and says what follows for those of today.
    """

    file: str
    """File beside the data, as it was found."""
    rounds: tuple[CorrectionRound, ...]
    """The corrections, the first one first."""
    by_audit: Count
    """Audited samples whose label was changed by an audit alone."""
    by_person: Count
    """Audited samples whose label a person gave or confirmed."""
    unmatched: Count
    """Recorded samples that are not in the data any more, or were not audited, or have another label now."""
    wrong_changes: Proportion
    """Expected share of wrong labels among those that were changed by an audit alone, by this audit."""

    @property
    def removed(self) -> int:
        """Number of samples that the corrections left out."""
        return sum(one.removed for one in self.rounds)


def describe_correction(done: CorrectionRound) -> tuple[str, ...]:
    """Return what a correction should have done, in lines: wrong changes, and wrong labels left."""
    lines = []
    if done.by_audit:
        wrong = round(done.wrong_changes * (done.relabeled + done.removed))
        what = (
            "changes should be wrong" if done.relabeled else "samples left out should have had right labels"
        )
        lines.append(f"Expected: about {wrong:,} of these {done.relabeled + done.removed:,} {what}.")
    share = done.remainder
    about = f"about {percent(share.value)} ({percent(share.low)} to {percent(share.high)})"
    untold = f"at most {percent(share.high)}, as far as can be told"
    lines.append(f"Labels of the copy that should still be wrong: {about if done.told else untold}.")
    return tuple(lines)


def corrections_sentence(found: Corrections) -> str:
    """Return what was changed, and what that means for the verdict on the labels, in two sentences."""
    rounds = f"{len(found.rounds):,} times" if len(found.rounds) > 1 else "once"
    unmatched = ""
    if found.unmatched:
        unmatched = f" {found.unmatched:,} recorded changes apply to no audited sample and its label."
    return f"Labels were corrected {rounds} ({found.file}): {describe_changes(found)}.{unmatched}"


def describe_changes(found: Corrections) -> str:
    """Return how many labels were changed by whom, and how many of them should be wrong, as a phrase."""
    parts = []
    if found.by_audit:
        wrong = round(found.wrong_changes * found.by_audit)
        parts.append(
            f"{found.by_audit:,} changed by an audit alone, about {wrong:,} of which should be wrong: they "
            "are no evidence"
        )
    if found.by_person:
        parts.append(f"{found.by_person:,} given or confirmed by a person")
    if found.removed:
        parts.append(f"{found.removed:,} samples left out")
    return "; ".join(parts) or "none of the changes is about an audited sample"
