"""A corrected copy of the audited data: suspects get the suggested label, or are left out.

The data is only read. The copy is written under a temporary name beside its place and renamed when it is
whole, with a list of every change beside it.
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
from cohaudit.loading.data import Original, hash_original, open_original
from cohaudit.results import Audit
from cohaudit.results.files import check_folder, refuse_existing, working_folder
from cohaudit.review.export import ranked, require_judged
from cohaudit.review.review_list import read_confirmed

LOG = ".changes.csv"
"""What is appended to the copy's name for the list of changes."""

_SHOWN = 12
"""Digits of a fingerprint that tell two apart."""


@dataclass(frozen=True)
class Change:
    """One sample that is not in the copy as it is in the data: a line of the list of changes."""

    id: str
    label: str
    """As it was."""
    new_label: str
    """Empty for a sample that is left out."""
    new_id: str
    """In the copy, empty for a sample that is left out: an image is found in its new class folder."""
    suspicion: float
    reason: str


@dataclass(frozen=True)
class Correction:
    """What was written."""

    copy: Path
    log: Path
    changes: tuple[Change, ...]
    samples: int
    """In the data."""
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
        data: The same data, unchanged since.
        out: The file or folder to make.
        drop: Leave the suspects out in place of giving them the suggested label.
        only: A file of ids, one a line, or a table of ids and new labels: only these samples are changed.
        labels: Key or column of the labels; empty: as in the scan.
        ids: Key or column of the ids; empty: as in the scan.

    Returns:
        What was written.

    Raises:
        ReportError: If the audit judged no sample, or the copy cannot be written.
        DataError: If the data is not what was audited, or is of a kind that cannot be copied.
        CohauditError: If the ids or the options do not fit.
    """
    require_judged(audit)
    rows = _chosen(audit, only, drop)
    log = out.parent / (out.name + LOG)
    _check_place(data, out, log)
    original = _open(audit, data, labels, ids)
    _check_labels(rows, original, data)
    positions = {name: position for position, name in enumerate(original.ids)}
    changes = {positions[row["id"]]: _change(row, drop, only) for row in rows}
    count = len(changes)
    changes = {place: change for place, change in changes.items() if change.label != change.new_label}
    relabeled = {} if drop else {place: change.new_label for place, change in changes.items()}
    try:
        with working_folder(out.parent) as aside:
            moved = original.write(aside / out.name, relabeled, changes if drop else ())
            changes |= {place: replace(changes[place], new_id=name) for place, name in moved.items()}
            (aside / log.name).write_bytes(_listed(changes.values()))
            _publish(aside, out, log)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise ReportError(
            f"--out {out}",
            f"cannot be written: {error.strerror or error}{about}",
            "name a place that you may write to, on a disk with space left",
        ) from None
    notices = tuple(_notices(original, changes, count - len(changes)))
    return Correction(out, log, tuple(changes.values()), len(original.ids), notices)


def _chosen(audit: Audit, only: Path | None, drop: bool) -> list[dict[str, Any]]:
    """Return the rows of the samples to change, most suspicious first, each with its new label."""
    confirmed = None if only is None else read_confirmed(only, audit)
    rows = ranked(audit, every=confirmed is not None).to_dict("records")
    chosen = []
    for row in ({str(key): value for key, value in row.items()} for row in rows):
        said = None if confirmed is None else confirmed.get(row["id"])
        if confirmed is not None and said is None:
            continue
        if said is not None and not (said.new_label or row["suspect"] or drop):
            found = f"{row['id']!r:.80} has no new label, and is no suspect that one is suggested for"
            raise ReportError(said.where, found, "give one, or leave such samples out with --drop")
        new = (said.new_label if said else "") or row["suggested"]
        chosen.append(row | {"new_label": new})
    return chosen


def _check_place(data: Path, out: Path, log: Path) -> None:
    """Raise an error unless the copy can be written beside everything that is there."""
    if out.name in {"", ".."}:
        raise ReportError(f"--out {out}", "is a folder, not a name for the copy", "name something new in it")
    for path in (out, log):
        refuse_existing(path)
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ReportError(f"--out {out}", f"lies inside the data, {data}", "name a folder beside it")
    if data.is_file() and out.suffix.lower() != data.suffix.lower():
        remedy = f"name it {out.stem or 'corrected'}{data.suffix}"
        raise ReportError(f"--out {out}", f"the copy is a {data.suffix} file, as the data is", remedy)
    check_folder(out.parent)


def _open(audit: Audit, data: Path, labels: str, ids: str) -> Original:
    """Open the data, once it is known to be what was audited."""
    found = hash_original(data)
    audited = audit.subject.data_fingerprint
    if found != audited:
        raise DataError(
            str(data),
            f"is not the data that was audited ({audit.subject.data:.80}): its SHA-256 begins with "
            f"{found[:_SHOWN]}, not with {audited[:_SHOWN]}",
            "name that data, unchanged, or scan again; where code made it, use the lists of cohaudit export",
        )
    original = open_original(
        data,
        labels or _recorded(audit, "labels"),
        ids or _recorded(audit, "ids"),
        [one.name for one in audit.classes],
    )
    given = dict(zip(original.ids, original.labels, strict=True))
    for name, label in zip(audit.samples["id"], audit.samples["label"], strict=True):
        if given.get(name) != label:
            now = f"{given[name]!r:.80}" if name in given else "missing"
            raise DataError(
                f"{data}, sample {name!r:.80}",
                f"is {label!r:.80} in the audit, but {now} here",
                "name the labels and ids of the scan with --labels and --ids",
            )
    return original


def _check_labels(rows: Iterable[dict[str, Any]], original: Original, data: Path) -> None:
    """Raise an error unless the data has every label that is to be written."""
    unknown = {row["new_label"] for row in rows} - set(original.labels)
    if unknown:
        found = f"no sample of {data} is a {min(unknown)!r:.80}, so how it is written there is not known"
        raise ReportError("the new labels", found, "run cohaudit scan again, or correct that one by hand")


def _recorded(audit: Audit, key: str) -> str:
    value = audit.settings.get(key, "")
    return str(KEYS[key].checked(value, f"settings.{key} of the audit"))


def _change(row: dict[str, Any], drop: bool, only: Path | None) -> Change:
    why = f"the other samples say {row['suggested']}" if row["suggested"] != row["label"] else "a suspect"
    why = why if row["suspect"] else "no suspect"
    return Change(
        id=row["id"],
        label=row["label"],
        new_label="" if drop else row["new_label"],
        new_id="" if drop else row["id"],
        suspicion=row["suspicion"],
        reason=why if only is None else f"{why}; {_said(row, drop)} {only.name}",
    )


def _said(row: dict[str, Any], drop: bool) -> str:
    """Say whether a person confirmed the suggested label, or named another one."""
    return "listed in" if drop or row["new_label"] == row["suggested"] else "another label by"


def _listed(changes: Iterable[Change]) -> bytes:
    """Return the list of changes as the content of a .csv file."""
    text = io.StringIO()
    # the writer leaves a lone carriage return in an id unquoted otherwise
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([field.name for field in fields(Change)])
    writer.writerows(astuple(change) for change in changes)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _publish(aside: Path, out: Path, log: Path) -> None:
    """Rename what is whole into place: both, or neither."""
    for path in (out, log):
        refuse_existing(path)
    (aside / log.name).rename(log)
    try:
        (aside / out.name).rename(out)
    except BaseException:
        log.unlink()
        raise


def _notices(original: Original, changes: dict[int, Change], same: int) -> Iterator[str]:
    if same:
        yield f"{same:,} of the suspects keep their label: no other one is likelier. --drop leaves them out."
    after = {
        changes[place].new_label if place in changes else label for place, label in enumerate(original.labels)
    }
    empty = sorted(set(original.labels) - after)
    if empty:
        more = f" and {len(empty) - 1} more" if empty[1:] else ""
        yield f"no sample of the class {empty[0]!r:.80}{more} is left."
