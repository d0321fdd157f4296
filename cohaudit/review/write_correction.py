"""Writes a corrected copy of audited data, and beside it a list of all changes and the labels' provenance.

The copy is written under a temporary name in the target folder and renamed when it is complete.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from cohaudit.errors import ReportError
from cohaudit.loading.data import Original, hash_original
from cohaudit.results.corrections import CorrectionRound
from cohaudit.results.files import check_folder, refuse_existing, working_folder
from cohaudit.review.label_provenance import (
    MAX_FILE_BYTES,
    LabelProvenance,
    provenance_file,
    provenance_json,
)
from cohaudit.review.record_correction import (
    AuditedLabels,
    PlannedChange,
    correction_round,
    recorded_changes,
    with_ids,
)

CHANGES_SUFFIX = ".changes.csv"
"""Appended to the copy's name, the name of the list of changes."""

NO_DATA = "0" * 64
"""Stands for the hash of a copy that holds no sample."""


@dataclass(frozen=True)
class CorrectedSample:
    """One sample that differs between the data and the copy: a line of the list of changes."""

    id: str
    """Sample id in the data."""
    label: str
    """Label in the data."""
    new_label: str
    """Label in the copy; empty for a removed sample."""
    new_id: str
    """Sample id in the copy, where an image is in the folder of its new class; empty for a removed sample."""
    suspicion: float
    """Probability that the label in the data is wrong, in [0, 1]."""
    suggestion: float
    """Probability that the suggested label is right, in [0, 1]."""
    reason: str
    """Why the sample was changed, in words."""


@dataclass(frozen=True)
class CorrectionRecord:
    """What the file of provenance is made from.

    Attributes:
        known: What the audit says of the labels.
        audit: The audit, in words.
        earlier: Provenance of the data before; None without.
        planned: Position in the data → its change.
        drop: Whether the changed samples are removed.
    """

    known: AuditedLabels
    audit: str
    earlier: LabelProvenance | None
    planned: Mapping[int, PlannedChange]
    drop: bool


def changes_file(out: Path) -> Path:
    """Return the path of the list of changes that belongs to a copy."""
    return out.with_name(out.name + CHANGES_SUFFIX)


def check_place(data: Path, out: Path) -> None:
    """Raise an error unless the copy and what belongs to it can be written without replacing anything."""
    # the path "." has an empty name
    if out.name in {"", ".."}:
        raise ReportError(
            f"--out {out}", "is a folder, not a name for the copy", "add a new name in this folder"
        )
    for path in (out, changes_file(out), provenance_file(out)):
        refuse_existing(path)
    # the copy would become part of the data, and of its fingerprint
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ReportError(f"--out {out}", f"is inside the data, {data}", "name a folder beside it")
    if data.is_file() and out.suffix.lower() != data.suffix.lower():
        remedy = f"name it {out.stem or 'corrected'}{data.suffix}"
        raise ReportError(f"--out {out}", f"the copy is a {data.suffix} file, like the data", remedy)
    check_folder(out.parent)


def write_correction(
    original: Original,
    changes: dict[int, CorrectedSample],
    record: CorrectionRecord,
    out: Path,
) -> tuple[dict[int, CorrectedSample], CorrectionRound]:
    """Write the copy, the list of changes and the provenance: all or none.

    Args:
        original: The audited data.
        changes: Position in the data → its change.
        record: What the provenance is made from.
        out: File or folder of the copy.

    Returns:
        The changes, with the new id of each sample that got one, and what was changed in sum.

    Raises:
        ReportError: The files cannot be written.
    """
    relabeled = {} if record.drop else {place: change.new_label for place, change in changes.items()}
    try:
        with working_folder(out.parent) as aside:
            moved = original.write(aside / out.name, relabeled, changes if record.drop else ())
            changes |= {place: replace(changes[place], new_id=name) for place, name in moved.items()}
            log = changes_file(out)
            (aside / log.name).write_bytes(_changes_csv(changes.values()))
            provenance = _provenance(original, record, aside / out.name, moved)
            file = provenance_file(out)
            (aside / file.name).write_bytes(_encoded(provenance))
            _publish(aside, out, (log, file))
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise ReportError(
            f"--out {out}",
            f"cannot be written: {error.strerror or error}{about}",
            "name a folder with write permission, on a disk with free space",
        ) from None
    return changes, provenance.rounds[-1]


def _provenance(
    original: Original, record: CorrectionRecord, copy: Path, moved: Mapping[int, str]
) -> LabelProvenance:
    """Return the provenance of a copy that was written.

    Args:
        original: The audited data.
        record: What the provenance is made from.
        copy: The copy.
        moved: Position → id in the copy, for those that changed with the label.
    """
    rounds = () if record.earlier is None else record.earlier.rounds
    entries = recorded_changes(original, record.known, record.planned, record.earlier, len(rounds) + 1)
    if record.drop:
        # where ids are row numbers, those of all later rows have changed: only the hash names a sample then
        entries = {place: replace(one, id="") for place, one in entries.items()}
    added = correction_round(record.audit, record.known, record.planned, len(original.ids), drop=record.drop)
    # of an empty folder there is no hash
    fingerprint = hash_original(copy) if added.samples else NO_DATA
    return LabelProvenance(fingerprint, (*rounds, added), with_ids(entries, moved))


def _encoded(provenance: LabelProvenance) -> bytes:
    """Return the content of the file of provenance, unless it would be too large to be read."""
    content = provenance_json(provenance).encode("utf-8")
    if len(content) > MAX_FILE_BYTES:
        found = f"{len(provenance.changes):,} changed samples make a file of provenance that is too large"
        raise ReportError("the correction", found, "name fewer samples with --only")
    return content


def _changes_csv(changes: Iterable[CorrectedSample]) -> bytes:
    """Return the list of changes as the content of a .csv file."""
    text = io.StringIO()
    # without quotes, a carriage return in an id would begin a new row for readers
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([field.name for field in fields(CorrectedSample)])
    writer.writerows(astuple(change) for change in changes)
    # ids and labels can hold characters that UTF-8 cannot encode
    return text.getvalue().encode("utf-8", "backslashreplace")


def _publish(aside: Path, out: Path, beside: Sequence[Path]) -> None:
    """Rename the copy and the files beside it into place: all, or none."""
    # something of the name can have appeared while the copy was written
    for path in (out, *beside):
        refuse_existing(path)
    renamed: list[Path] = []
    try:
        # the copy last: a list without its copy is harmless, a copy without its list cannot be checked
        for path in (*beside, out):
            (aside / path.name).rename(path)
            renamed.append(path)
    except BaseException:  # also an interruption between two renames
        for path in renamed:
            path.unlink()
        raise
