"""A corrected copy of the audited data: suspects get the suggested label, or are removed.

The data is only read. The copy is written under a temporary name in the target folder and renamed when it is
complete, with a list of every change beside it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from cohaudit.config import KEYS
from cohaudit.errors import DataError, ReportError
from cohaudit.loading.data import Original, open_original
from cohaudit.results import Audit
from cohaudit.results.files import check_folder, refuse_existing, working_folder
from cohaudit.results.tables import table_to_records
from cohaudit.review.audited_data import check_fingerprint
from cohaudit.review.export import require_judged
from cohaudit.review.review_list import read_confirmed

CHANGES_SUFFIX = ".changes.csv"
"""Appended to the copy's name, the name of the list of changes."""


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
    reason: str
    """Why the sample was changed, in words."""


@dataclass(frozen=True)
class Correction:
    """The files that were written, and the changes."""

    copy: Path
    """The corrected copy: a file or folder."""
    log: Path
    """The list of changes, a .csv file with the fields of `CorrectedSample`."""
    changes: tuple[CorrectedSample, ...]
    """The changed samples, most suspicious first."""
    samples: int
    """Number of samples in the data."""
    notices: tuple[str, ...]
    """What to know before training on the copy, in sentences."""


def correct(
    audit: Audit,
    data: Path,
    out: Path,
    *,
    drop: bool = False,
    only: Path | None = None,
    labels: str = "",
    ids: str = "",
) -> Correction:
    """Write a corrected copy of the data that was audited.

    Args:
        audit: The result of a scan.
        data: The audited data, unchanged since the scan.
        out: File or folder to write; nothing of this name may exist.
        drop: Whether to remove the suspects rather than give them the suggested label.
        only: File of ids, one per line, or table of ids and new labels: only these samples are changed.
        labels: Key or column of the labels; empty: as in the scan.
        ids: Key or column of the ids; empty: as in the scan.

    Returns:
        The files that were written, and the changes.

    Raises:
        ReportError: The audit judged no labels, or the copy cannot be written.
        DataError: The data is not what was audited, or its kind cannot be copied.
        CohauditError: The ids or the options do not fit.
    """
    require_judged(audit)
    rows = _rows_to_change(audit, only, drop)
    log = out.parent / (out.name + CHANGES_SUFFIX)
    # before the data is read, which can take minutes
    _check_place(data, out, log)
    original = _open(audit, data, labels, ids)
    _check_labels(rows, original, data)
    positions = {name: position for position, name in enumerate(original.ids)}
    planned = {positions[row["id"]]: _corrected(row, drop, only) for row in rows}
    # a suspect can have no better label than its own; such a sample stays as it is
    changes = {place: change for place, change in planned.items() if change.label != change.new_label}
    changes = _write(original, changes, out, log, drop)
    notices = tuple(_notices(original, changes, len(planned) - len(changes)))
    return Correction(out, log, tuple(changes.values()), len(original.ids), notices)


def _write(
    original: Original, changes: dict[int, CorrectedSample], out: Path, log: Path, drop: bool
) -> dict[int, CorrectedSample]:
    """Write the copy and the list of changes, both or neither.

    Args:
        original: The audited data.
        changes: Position in the data → its change.
        out: File or folder of the copy.
        log: File of the list of changes.
        drop: Whether the changed samples are removed.

    Returns:
        The changes, with the new id of each sample that got one.

    Raises:
        ReportError: The files cannot be written.
    """
    relabeled = {} if drop else {place: change.new_label for place, change in changes.items()}
    try:
        with working_folder(out.parent) as aside:
            moved = original.write(aside / out.name, relabeled, changes if drop else ())
            renamed = {place: replace(changes[place], new_id=name) for place, name in moved.items()}
            changes = changes | renamed
            (aside / log.name).write_bytes(_changes_csv(changes.values()))
            _publish(aside, out, log)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise ReportError(
            f"--out {out}",
            f"cannot be written: {error.strerror or error}{about}",
            "name a folder with write permission, on a disk with free space",
        ) from None
    return changes


def _rows_to_change(audit: Audit, only: Path | None, drop: bool) -> list[dict[str, Any]]:
    """Return the rows of the samples to change, most suspicious first, each with its new label."""
    if only is None:
        return [row | {"new_label": row["suggested"]} for row in table_to_records(audit.suspects)]
    confirmed = read_confirmed(only, audit)
    rows = []
    for row in table_to_records(audit.ranked_samples()):
        entry = confirmed.get(row["id"])
        if entry is None:
            continue
        if not (entry.new_label or row["suspect"] or drop):
            found = f"{row['id']!r:.80} has no new label, and is not a suspect with a suggested one"
            raise ReportError(entry.where, found, "give one, or remove such samples with --drop")
        rows.append(row | {"new_label": entry.new_label or row["suggested"]})
    return rows


def _check_place(data: Path, out: Path, log: Path) -> None:
    """Raise an error unless the copy can be written without replacing anything."""
    # the path "." has an empty name
    if out.name in {"", ".."}:
        raise ReportError(
            f"--out {out}", "is a folder, not a name for the copy", "add a new name in this folder"
        )
    for path in (out, log):
        refuse_existing(path)
    # the copy would become part of the data, and of its fingerprint
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ReportError(f"--out {out}", f"is inside the data, {data}", "name a folder beside it")
    if data.is_file() and out.suffix.lower() != data.suffix.lower():
        remedy = f"name it {out.stem or 'corrected'}{data.suffix}"
        raise ReportError(f"--out {out}", f"the copy is a {data.suffix} file, like the data", remedy)
    check_folder(out.parent)


def _open(audit: Audit, data: Path, labels: str, ids: str) -> Original:
    """Check that the data is what was audited, and open it."""
    check_fingerprint(audit, data)
    original = open_original(
        data,
        labels or _recorded(audit, "labels"),
        ids or _recorded(audit, "ids"),
        [one.name for one in audit.classes],
    )
    # equal bytes can still be read with another column as the label
    given = dict(zip(original.ids, original.labels, strict=True))
    for name, label in zip(audit.samples["id"], audit.samples["label"], strict=True):
        if given.get(name) != label:
            now = f"{given[name]!r:.80}" if name in given else "missing"
            raise DataError(
                f"{data}, sample {name!r:.80}",
                f"is {label!r:.80} in the audit, but {now} here",
                "give the keys or columns of the scan with --labels and --ids",
            )
    return original


def _check_labels(rows: Iterable[dict[str, Any]], original: Original, data: Path) -> None:
    """Raise an error unless every new label occurs in the data: only then is its spelling known."""
    unknown = {row["new_label"] for row in rows} - set(original.labels)
    if unknown:
        # the smallest, because a set has no order: the message is the same in every run
        found = f"no sample of {data} has the label {min(unknown)!r:.80}"
        raise ReportError("the new labels", found, "run cohaudit scan again, or correct that sample by hand")


def _recorded(audit: Audit, key: str) -> str:
    value = audit.settings.get(key, "")
    # the recorded value comes from a file that anybody may have edited
    return str(KEYS[key].checked(value, f"settings.{key} of the audit"))


def _corrected(row: dict[str, Any], drop: bool, only: Path | None) -> CorrectedSample:
    if not row["suspect"]:
        reason = "not a suspect"
    elif row["suggested"] != row["label"]:
        reason = f"the other samples suggest {row['suggested']}"
    else:
        reason = "a suspect"
    return CorrectedSample(
        id=row["id"],
        label=row["label"],
        new_label="" if drop else row["new_label"],
        new_id="" if drop else row["id"],
        suspicion=row["suspicion"],
        reason=reason if only is None else f"{reason}; {_confirmation(row, drop)} {only.name}",
    )


def _confirmation(row: dict[str, Any], drop: bool) -> str:
    """Return whether a person confirmed the suggested label or gave another one, as the start of a phrase."""
    return "listed in" if drop or row["new_label"] == row["suggested"] else "another label in"


def _changes_csv(changes: Iterable[CorrectedSample]) -> bytes:
    """Return the list of changes as the content of a .csv file."""
    text = io.StringIO()
    # without quotes, a carriage return in an id would begin a new row for readers
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([field.name for field in fields(CorrectedSample)])
    writer.writerows(astuple(change) for change in changes)
    # ids and labels can hold characters that UTF-8 cannot encode
    return text.getvalue().encode("utf-8", "backslashreplace")


def _publish(aside: Path, out: Path, log: Path) -> None:
    """Rename the copy and its list into place: both, or neither."""
    # something of the name can have appeared while the copy was written
    for path in (out, log):
        refuse_existing(path)
    # the list first: a list without its copy is harmless, a copy without its list cannot be checked
    (aside / log.name).rename(log)
    try:
        (aside / out.name).rename(out)
    except BaseException:  # also an interruption between the two renames
        log.unlink()
        raise


def _notices(original: Original, changes: dict[int, CorrectedSample], unchanged: int) -> Iterator[str]:
    if unchanged:
        yield f"Suspects without a more likely label: {unchanged:,}. They keep theirs; --drop removes them."
    after = {
        changes[place].new_label if place in changes else label for place, label in enumerate(original.labels)
    }
    empty = sorted(set(original.labels) - after)
    if empty:
        more = f" and {len(empty) - 1} more" if empty[1:] else ""
        yield f"No sample of the class {empty[0]!r:.80}{more} is left."
