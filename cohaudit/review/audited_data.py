"""Finds and opens the data that an audit names, for commands that work from a saved audit."""

from __future__ import annotations

from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.loading.data import hash_original
from cohaudit.results import Audit
from cohaudit.results.audit import IN_MEMORY
from cohaudit.results.files import path_exists

GIVE_DATA = "name the audited data with --data (from Python: data=…)"
"""Remedy where the data cannot be found."""

FINGERPRINT_DIGITS = 12
"""Digits of a fingerprint in words: enough to tell two datasets, or two checkpoints, apart."""


def find_data(audit: Audit, beside: Path | None = None) -> Path:
    """Return the path of the audited data, as the audit names it.

    Args:
        audit: The audit.
        beside: Folder of the audit.json; None for an audit in memory.

    Returns:
        The path: from the working directory, else from the folder of the audit or the one above it.

    Raises:
        DataError: The audit names no file, or there is none of its name.
    """
    named = audit.subject.data
    if named == IN_MEMORY:
        raise DataError("the data", "was in memory when it was audited", GIVE_DATA)
    # a scan names the data from the folder of its settings, and writes its report into a folder of that one
    folders = [Path()] if beside is None else [Path(), beside, beside.absolute().parent]
    for folder in folders:
        path = folder / named
        if path_exists(path):
            return path
    if ":" in named:
        raise DataError(named, "is a dataset made by code, not a file", GIVE_DATA)
    raise DataError(named, "the audited data is no longer where the scan found it", GIVE_DATA)


def check_fingerprint(audit: Audit, data: Path) -> None:
    """Refuse stored data that is not what was audited.

    Args:
        audit: The audit.
        data: The data file, or folder of images.

    Raises:
        DataError: It differs, cannot be read, or is made by code.
    """
    fingerprint = hash_original(data)
    audited = audit.subject.data_fingerprint
    # what the audit says is about these bytes: another version can have other samples under the same ids
    if fingerprint != audited:
        raise DataError(
            str(data),
            f"is not the data that was audited ({audit.subject.data:.80}): its SHA-256 begins with "
            f"{fingerprint[:FINGERPRINT_DIGITS]}, not with {audited[:FINGERPRINT_DIGITS]}",
            "name the audited data, unchanged, or scan again; for data made by code, use cohaudit export",
        )
