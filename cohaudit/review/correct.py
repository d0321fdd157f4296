"""A corrected copy of the audited data: suspects get the suggested label, or are removed.

The data is only read. What is written, and how, is in `write_correction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.analysis.corrected_labels import likelier_to_help
from cohaudit.config import KEYS
from cohaudit.errors import DataError, ReportError
from cohaudit.loading.data import Original, open_original
from cohaudit.results import Audit, Skipped
from cohaudit.results.corrections import ChangedBy, CorrectionRound
from cohaudit.results.tables import table_to_records
from cohaudit.review.audited_data import check_fingerprint
from cohaudit.review.export import require_judged
from cohaudit.review.label_provenance import provenance_file
from cohaudit.review.record_correction import (
    AuditedLabels,
    PlannedChange,
    audited_labels,
    describe_audit,
    earlier_provenance,
)
from cohaudit.review.review_list import read_confirmed
from cohaudit.review.write_correction import (
    CorrectedSample,
    CorrectionRecord,
    changes_file,
    check_place,
    write_correction,
)


@dataclass(frozen=True)
class Correction:
    """The files that were written, and the changes."""

    copy: Path
    """The corrected copy: a file or folder."""
    log: Path
    """The list of changes, a .csv file with the fields of `CorrectedSample`."""
    provenance: Path
    """The provenance of the copy's labels, which later scans read."""
    changes: tuple[CorrectedSample, ...]
    """The changed samples, most suspicious first."""
    samples: int
    """Number of samples in the data."""
    summary: CorrectionRound
    """What was changed in sum, and how many wrong labels should be left."""
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

    Unless a person listed the samples, labels are changed only where that is likelier to help than to harm:
    where the suggested label is likelier right than the given one.

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
    suspects = int(audit.samples["suspect"].sum())
    # before the data is read, which can take minutes
    check_place(data, out)
    earlier = earlier_provenance(data)
    original = _open(audit, data, labels, ids)
    _check_labels(rows, original, data)
    positions = {name: position for position, name in enumerate(original.ids)}
    planned = {positions[row["id"]]: _corrected(row, drop, only) for row in rows}
    # a suspect can have no better label than its own; such a sample stays as it is
    changes = {place: change for place, change in planned.items() if change.label != change.new_label}
    known = audited_labels(audit, original)
    record = CorrectionRecord(
        known=known,
        audit=describe_audit(audit),
        earlier=earlier,
        planned={place: _planned(change, known, only is not None, drop) for place, change in changes.items()},
        drop=drop,
    )
    changes, summary = write_correction(original, changes, record, out)
    left = 0 if only is not None else suspects - len(rows)
    notices = tuple(_notices(original, changes, len(planned) - len(changes), _left_notice(audit, left)))
    return Correction(
        copy=out,
        log=changes_file(out),
        provenance=provenance_file(out),
        changes=tuple(changes.values()),
        samples=len(original.ids),
        summary=summary,
        notices=notices,
    )


def _planned(change: CorrectedSample, known: AuditedLabels, listed: bool, drop: bool) -> PlannedChange:
    """Return a change with what is known of it; `listed` says whether a person listed the samples."""
    by: ChangedBy = "list" if listed else "audit"
    # only an answer makes a label wrong, and another one right, with probability 1
    if not listed and known.reviewed and change.suspicion == 1 and (drop or change.suggestion == 1):
        by = "review"
    if drop:
        return PlannedChange("", 1 - change.suspicion if by == "audit" else 0.0, by)
    return PlannedChange(change.new_label, change.suggestion if by == "audit" else 1.0, by)


def _rows_to_change(audit: Audit, only: Path | None, drop: bool) -> list[dict[str, Any]]:
    """Return the rows of the samples to change, most suspicious first, each with its new label."""
    if only is None:
        suspects = audit.suspects
        suspects = suspects[_may_be_changed(audit, suspects, drop)]
        return [row | {"new_label": row["suggested"]} for row in table_to_records(suspects)]
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
        suggestion=row["suggestion"],
        reason=reason if only is None else f"{reason}; {_confirmation(row, drop)} {only.name}",
    )


def _may_be_changed(audit: Audit, suspects: pd.DataFrame, drop: bool) -> NDArray[np.bool_]:
    """Return which suspects are changed without a person's list, [suspects].

    Once an audit alone has changed labels, only those that a person has judged: a network that was trained on
    what an audit concluded is no new evidence about the rest. Of what it would still change, most is wrong
    (`python -m benchmarks.commands.loop`).
    """
    suspicion = suspects["suspicion"].to_numpy()
    suggestion = suspects["suggestion"].to_numpy()
    if was_concluded(audit):
        judged: NDArray[np.bool_] = (suspicion == 1) & (drop | (suggestion == 1))
        return judged
    return np.ones(len(suspects), dtype=bool) if drop else likelier_to_help(suspicion, suggestion)


def was_concluded(audit: Audit) -> bool:
    """Return whether an audit alone has changed labels of the data before, or left samples out."""
    found = audit.corrections
    return not isinstance(found, Skipped) and any(one.by_audit for one in found.rounds)


def _confirmation(row: dict[str, Any], drop: bool) -> str:
    """Return whether a person confirmed the suggested label or gave another one, as the start of a phrase."""
    return "listed in" if drop or row["new_label"] == row["suggested"] else "another label in"


def _left_notice(audit: Audit, left: int) -> str:
    """Return a notice about suspects that are left to a person; empty without one."""
    if not left:
        return ""
    if was_concluded(audit):
        return (
            f"Suspects left to a person: {left:,}. An audit has changed labels before, and a network trained "
            "on those is no new evidence. Review labels (cohaudit review), or name what is wrong with --only."
        )
    return (
        f"Suspects whose suggested label is not likelier right than their own: {left:,}. They stay: "
        "look at them, and name what is wrong with --only."
    )


def _notices(
    original: Original, changes: dict[int, CorrectedSample], unchanged: int, left: str
) -> Iterator[str]:
    if left:
        yield left
    if unchanged:
        yield f"Suspects without a more likely label: {unchanged:,}. They keep theirs; --drop removes them."
    after = {
        changes[place].new_label if place in changes else label for place, label in enumerate(original.labels)
    }
    empty = sorted(set(original.labels) - after)
    if empty:
        more = f" and {len(empty) - 1} more" if empty[1:] else ""
        yield f"No sample of the class {empty[0]!r:.80}{more} is left."
