"""Writes the report's files all or none: next to their place first, then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cohaudit.errors import ReportError
from cohaudit.report.commands import AUDIT_FILE, Places, default_places
from cohaudit.report.formats.registry import FILES, parsed_formats, render_formats
from cohaudit.report.html.render import render_html
from cohaudit.results import Audit
from cohaudit.results.files import (
    NAME_WRITABLE_FOLDER,
    OUT_OPTION,
    check_folder,
    check_target,
    is_same_file,
    nearest_existing,
    refuse_source,
    write_file,
    write_files,
)
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.tables import table_to_csv

_FILES = ("report.html", AUDIT_FILE, "samples.csv")
"""Names of the files that every scan writes."""


def write_report(
    audit: Audit,
    out: str | Path,
    formats: Sequence[str] = (),
    templates: str | Path | None = None,
    data: str | Path | None = None,
) -> list[Path]:
    """Write report.html, audit.json and samples.csv into a folder, replacing those of an earlier scan.

    Other files in the folder stay. All files are rendered and written under temporary names first, so that an
    error before the last step leaves the folder as it was.

    Args:
        audit: Result of a scan.
        out: Folder; created if it does not exist.
        formats: Further formats, see docs/formats.md; `github`, which is printed, has no file.
        templates: Folder of a user's templates, which replace the shipped ones of the same name.
        data: File or folder of the training data, for the page's commands; None for what the audit says.

    Returns:
        The files, in the order above, then those of the formats.

    Raises:
        ReportError: The folder cannot be written to.
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    places = Places(str(Path(out) / AUDIT_FILE), str(data) if data else default_places(audit).data)
    contents: dict[str, str | bytes] = {
        "report.html": render_html(audit, Path(templates) if templates else None, places),
        "samples.csv": table_to_csv(audit.samples),
        **render_formats(audit, formats),
        # last: while the files are renamed, the one that all commands read is missing
        AUDIT_FILE: audit_to_json(audit),
    }
    written = write_files(Path(out), contents)
    # for a reader, in the order above
    files = [
        *(path for name in _FILES for path in written if path.name == name),
        *(path for path in written if path.name not in _FILES),
    ]
    audit.lies_at(files[0])
    return files


def write_formats(audit: Audit, out: Path, formats: Sequence[str], source: Path) -> list[Path]:
    """Write only the files of further formats, from an audit that was read back.

    Args:
        audit: The audit, with its gates evaluated.
        out: Folder; created if it does not exist.
        formats: Further formats, as in `write_report`.
        source: File that the audit was read from.

    Returns:
        The files.

    Raises:
        ReportError: A file is the audit itself, or cannot be written.
    """
    contents = render_formats(audit, formats)
    # the audit may have the name of a format's file, such as junit.xml
    for name in contents:
        refuse_source(out / name, source)
    return write_files(out, contents) if contents else []


def write_html(
    audit: Audit, path: str | Path, templates: Path | None = None, saved: Path | None = None
) -> Path:
    """Write only the report, for example from an audit that was read back.

    Args:
        audit: Result of a scan.
        path: File to write; an existing one is replaced.
        templates: Folder of a user's templates, which replace the shipped ones of the same name.
        saved: File that the audit was read from, for the page's commands; None for audit.json.

    Returns:
        The file.

    Raises:
        ReportError: The file cannot be written.
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    places = Places(str(saved or AUDIT_FILE), default_places(audit).data)
    return write_file(path, render_html(audit, templates, places))


def try_folder(out: Path, formats: Sequence[str] = ()) -> int:
    """Check that a report can be written, by writing and removing a temporary file; no folder is created.

    Args:
        out: Folder that a report would go to; if it does not exist, the nearest existing parent is tried.
        formats: Further formats to be written.

    Returns:
        Free bytes on its disk.

    Raises:
        ReportError: The folder, or a file of the report in it, cannot be written.
    """
    check_folder(out)
    for name in _names(formats):
        check_target(out / name)
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(out), prefix=".cohaudit-") as file:
            # Permissions and quotas cannot be predicted reliably: only writing shows.
            file.write(b"cohaudit")
            # a full disk or a quota shows only when the bytes leave Python's buffer
            file.flush()
        return shutil.disk_usage(nearest_existing(out)).free
    except OSError as error:
        raise ReportError(
            f"{OUT_OPTION} {out}", f"cannot be written: {error.strerror}", NAME_WRITABLE_FOLDER
        ) from None


def refuse_data(out: Path, data: Path, called: str, formats: Sequence[str] = ()) -> None:
    """Refuse a folder in which a file of the report would replace data.

    Args:
        out: Folder of the report.
        data: Data file.
        called: What the data is, for the message.
        formats: Further formats to be written.

    Raises:
        ReportError: The data has the name of a file of the report, in the same folder.
    """
    for name in _names(formats):
        if is_same_file(out / name, data):
            raise ReportError(f"--out {out}", f"its {name} is {called}", "name another folder")


def _names(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all files that a scan writes."""
    return (*_FILES, *(FILES[one] for one in parsed_formats(formats) if one in FILES))
