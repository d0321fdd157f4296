"""`cohaudit correct` from Python: the audit may be a file, and the data is found if it is not named."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from cohaudit.results import Audit
from cohaudit.results.read import AuditSource, as_audit
from cohaudit.review.audited_data import find_data
from cohaudit.review.correct import Correction
from cohaudit.review.correct import correct as write_copy


def correct(
    audit: AuditSource,
    out: str | PathLike[str],
    *,
    data: str | PathLike[str] | None = None,
    drop: bool = False,
    only: str | PathLike[str] | None = None,
    labels: str = "",
    ids: str = "",
) -> Correction:
    """Write a corrected copy of the data that was audited: the same as `cohaudit correct`.

    Of data that was in memory no copy is written: `audit.corrected_labels()` returns its labels.

    Args:
        audit: An audit, or the path of an audit.json.
        out: File or folder to write; nothing of this name may exist.
        data: The audited data, unchanged since the scan; if left out, where the audit says it is.
        drop: Whether to remove the suspects rather than give them the suggested label.
        only: File that names the samples to change; see docs/cleaning.md.
        labels: Key or column of the labels; empty: as in the scan.
        ids: Key or column of the ids; empty: as in the scan.

    Returns:
        The files that were written, and the changes.

    Raises:
        ReportError: The audit cannot be read or judged no labels, or the copy cannot be written.
        DataError: The data is not found, is not what was audited, or its kind cannot be copied.
        CohauditError: The ids or the options do not fit.
    """
    read = as_audit(audit)
    path = find_data(read, folder_of(audit)) if data is None else Path(data)
    listed = None if only is None else Path(only)
    return write_copy(read, path, Path(out), drop=drop, only=listed, labels=labels, ids=ids)


def folder_of(audit: AuditSource) -> Path | None:
    """Return the folder of an audit.json; None for an audit in memory."""
    return None if isinstance(audit, Audit) else Path(audit).parent
