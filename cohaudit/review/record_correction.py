"""What a correction did, for the file of provenance beside the copy: entries, and the expected remainder.

Everything is taken from the audit that the correction was made by: what it knew before the labels changed is
the last that can be known of them without a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cohaudit.analysis.corrected_labels import expected_remainder
from cohaudit.loading.data import Original
from cohaudit.results import Audit, Estimate, Skipped
from cohaudit.results.corrections import ChangedBy, CorrectionRound, LabelChange
from cohaudit.review.audited_data import FINGERPRINT_DIGITS
from cohaudit.review.label_provenance import (
    LabelProvenance,
    match_changes,
    provenance_file,
    read_provenance,
)


@dataclass(frozen=True)
class PlannedChange:
    """What is to become of one sample."""

    new_label: str
    """Its label in the copy; empty for a removed sample."""
    right: float
    """Probability that the new label is right; of a removed sample, that its old one was, in [0, 1]."""
    by: ChangedBy
    """Who says so."""


@dataclass(frozen=True)
class AuditedLabels:
    """What an audit says about the labels of stored samples, by their position."""

    fingerprint: str
    """Hash of the data."""
    contents: Mapping[int, str]
    """Position of an audited sample → short hash of its input."""
    suspicion: Mapping[int, float]
    """Position of an audited sample → probability that its label is wrong."""
    share: Estimate
    """Share of wrong labels among the audited samples, with its bounds."""
    told: bool
    """Whether wrong labels can be told."""
    reviewed: bool
    """Whether a person reviewed labels: then, and only then, suspicions are 0 or 1."""


def audited_labels(audit: Audit, original: Original) -> AuditedLabels:
    """Return what an audit says about the labels of stored samples."""
    place = {name: position for position, name in enumerate(original.ids)}
    positions = [place[name] for name in audit.samples["id"]]
    wrong = audit.wrong_labels
    # an audit without a verdict is refused before; this holds nothing back
    share = Estimate(0.0, 0.0, 1.0) if isinstance(wrong, Skipped) else wrong.share
    return AuditedLabels(
        fingerprint=audit.subject.data_fingerprint,
        contents=dict(zip(positions, audit.samples["content"], strict=True)),
        suspicion=dict(zip(positions, audit.samples["suspicion"].tolist(), strict=True)),
        share=share,
        told=not isinstance(wrong, Skipped) and wrong.told,
        reviewed=not isinstance(audit.calibration, Skipped) or not isinstance(audit.corrections, Skipped),
    )


def earlier_provenance(data: Path) -> LabelProvenance | None:
    """Return the provenance of the data that is corrected; None if it has none.

    Raises:
        ConfigError: The file beside the data is damaged.
    """
    path = provenance_file(data)
    return read_provenance(path) if path.is_file() else None


def describe_audit(audit: Audit) -> str:
    """Return which audit a correction was made by."""
    subject = audit.subject
    checkpoint = f"{Path(subject.checkpoint).name} {subject.checkpoint_sha256[:FINGERPRINT_DIGITS]}".strip()
    return f"cohaudit {audit.version}, {checkpoint}, data {subject.data_fingerprint[:FINGERPRINT_DIGITS]}"


def correction_round(
    audit: str, known: AuditedLabels, planned: Mapping[int, PlannedChange], samples: int, *, drop: bool
) -> CorrectionRound:
    """Return what a correction did in sum, and how many wrong labels it should leave.

    Args:
        audit: From `describe_audit`.
        known: What the audit says.
        planned: Position → its change.
        samples: Number of samples in the data.
        drop: Whether the samples are removed.
    """
    positions = list(known.suspicion)
    wrong = np.array([known.suspicion[k] for k in positions])
    right = np.zeros(len(positions))
    changed = np.zeros(len(positions), dtype=bool)
    for i, position in enumerate(positions):
        if one := planned.get(position):
            changed[i] = True
            right[i] = one.right
            # a person says that it is wrong, whatever the audit says
            wrong[i] = wrong[i] if one.by == "audit" else 1.0
    nothing = np.zeros(len(positions), dtype=bool)
    remainder = expected_remainder(
        wrong, right, nothing if drop else changed, known.share, ~changed if drop else None
    )
    harm = right[changed] if drop else 1 - right[changed]
    return CorrectionRound(
        audit=audit,
        samples=samples - len(planned) * drop,
        relabeled=0 if drop else len(planned),
        removed=len(planned) if drop else 0,
        by_audit=sum(one.by == "audit" for one in planned.values()),
        wrong_changes=float(harm.mean()) if len(harm) else 0.0,
        told=known.told,
        remainder=remainder,
    )


def recorded_changes(
    original: Original,
    known: AuditedLabels,
    planned: Mapping[int, PlannedChange],
    earlier: LabelProvenance | None,
    number: int,
) -> dict[int, LabelChange]:
    """Return the entry of each sample that is not left out: new ones, and those of earlier corrections.

    Args:
        original: The data before the correction.
        known: What the audit says.
        planned: Position → its change.
        earlier: Provenance of the data before; None without.
        number: Number of this correction, from 1.

    Returns:
        Position → entry, rising, with the ids that the samples have in the data before.
    """
    entries = {} if earlier is None else _matched(original, known, earlier)
    given = [entries[k].given if k in entries else label for k, label in enumerate(original.labels)]
    # of labels that an answer found right, nobody would be asked again, and they calibrate the others
    for position in _confirmed(known, planned, entries):
        entries[position] = LabelChange(
            known.contents[position], original.ids[position], given[position], original.labels[position],
            0.0, "review", number,
        )  # fmt: skip
    for position, one in planned.items():
        entry = LabelChange(
            content=known.contents[position],
            id=original.ids[position],
            given=given[position],
            label=one.new_label,
            wrong=1 - one.right,
            by=one.by,
            round=number,
        )
        entries[position] = entry
        # left out, or as it was given first: nothing has to be known of it
        if not one.new_label or (one.by == "audit" and entry.label == entry.given):
            del entries[position]
    return dict(sorted(entries.items()))


def _matched(original: Original, known: AuditedLabels, earlier: LabelProvenance) -> dict[int, LabelChange]:
    contents = [known.contents.get(k, "") for k in range(len(original.ids))]
    same = earlier.fingerprint == known.fingerprint
    return match_changes(earlier, contents, original.ids, original.labels, same_data=same)


def _confirmed(
    known: AuditedLabels, planned: Mapping[int, PlannedChange], entries: Mapping[int, LabelChange]
) -> list[int]:
    """Return the positions of labels that a person found right, and that no entry by a person holds."""
    if not known.reviewed:
        return []
    return [
        position
        for position, suspicion in known.suspicion.items()
        if suspicion == 0
        and position not in planned
        and (position not in entries or entries[position].by == "audit")
    ]


def with_ids(entries: Mapping[int, LabelChange], ids: Mapping[int, str]) -> tuple[LabelChange, ...]:
    """Return entries with the ids that their samples have in the copy.

    Args:
        entries: Position → entry.
        ids: Position → id in the copy, for those that differ.
    """
    return tuple(replace(one, id=ids.get(position, one.id)) for position, one in entries.items())
