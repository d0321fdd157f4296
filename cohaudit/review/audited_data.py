"""Finds the data that an audit names, for commands that work from a saved audit."""

from __future__ import annotations

from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.results import Audit
from cohaudit.results.audit import IN_MEMORY

GIVE_DATA = "name the audited data with --data (from Python: data=…)"
"""Remedy where the data cannot be found."""


def find_data(audit: Audit, given: str | Path | None, beside: Path | None = None) -> Path:
    """Return the path of the audited data: as given, else as the audit names it.

    Args:
        audit: The audit.
        given: Path that the user gave; None to find it.
        beside: Folder of the audit.json; None for an audit in memory.

    Returns:
        The path: from the working directory, else from the folder of the audit or a folder above it.

    Raises:
        DataError: The audit names no file, or there is none of its name.
    """
    if given:
        return Path(given)
    named = audit.subject.data
    if named == IN_MEMORY:
        raise DataError("the data", "was in memory when it was audited", GIVE_DATA)
    # a scan names the data from the folder of its settings, and writes its report into a folder below that
    above = [] if beside is None else [beside.absolute(), *beside.absolute().parents]
    for folder in (Path(), *above):
        path = folder / named
        if path.exists():
            return path
    if ":" in named:
        raise DataError(named, "is a dataset made by code, not a file", GIVE_DATA)
    raise DataError(named, "the audited data is no longer where the scan found it", GIVE_DATA)
