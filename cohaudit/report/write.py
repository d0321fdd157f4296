"""Files, whole or not at all: written aside, then renamed into place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cohaudit.errors import ReportError
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

_FILES = ("report.html", "audit.json", "samples.csv")


def write_report(
    audit: Audit, out: str | Path, formats: Sequence[str] = (), templates: str | Path | None = None
) -> list[Path]:
    """Write report.html, audit.json and samples.csv into a folder, replacing those of an earlier scan.

    Other files in the folder stay. All are rendered and written aside first: what goes wrong before the
    last step leaves the folder as it was. A folder that cannot be written to raises a `ReportError`, a
    template of the user that cannot be used a `UserTemplateError`.

    Args:
        audit: The result of a scan.
        out: The folder; made when there is none.
        formats: Further ones, see docs/formats.md; `github`, which is printed, has no file.
        templates: Folder of a user's templates that come before the shipped ones of the same name.

    Returns:
        The files, in the order above, then those of the formats.
    """
    contents: dict[str, str | bytes] = {
        "report.html": render_html(audit, Path(templates) if templates else None),
        "audit.json": audit_to_json(audit),
        "samples.csv": table_to_csv(audit.samples),
        **render_formats(audit, formats),
    }
    return write_files(Path(out), contents)


def write_formats(audit: Audit, out: Path, formats: Sequence[str], source: Path) -> list[Path]:
    """Write the files of further formats alone, from an audit read back.

    Args:
        audit: As read, with the gates to tell of.
        out: The folder; made when there is none.
        formats: As `write_report` takes them.
        source: The file that the audit was read from.

    Returns:
        The files.

    Raises:
        ReportError: One of them is the audit itself, or cannot be written.
    """
    contents = render_formats(audit, formats)
    for name in contents:
        refuse_source(out / name, source)
    return write_files(out, contents) if contents else []


def write_html(audit: Audit, path: str | Path, templates: Path | None = None) -> Path:
    """Write the report alone, as from an audit read back; a `ReportError` when it cannot be written.

    Args:
        audit: The result of a scan.
        path: The file; an existing one is replaced.
        templates: Folder of a user's templates that come before the shipped ones of the same name.

    Returns:
        The file.
    """
    return write_file(path, render_html(audit, templates))


def try_folder(out: Path, formats: Sequence[str] = ()) -> int:
    """Write into a folder, and take away what was written; what may be missing of it is not made.

    Args:
        out: The folder that a report would go to; where there is none yet, the one above is tried.
        formats: Further ones that are to be written.

    Returns:
        Bytes that its disk has room for.

    Raises:
        ReportError: It, or a file of the report in it, cannot be written.
    """
    check_folder(out)
    for name in _names(formats):
        check_target(out / name)
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(out), prefix=".cohaudit-") as file:
            file.write(b"cohaudit")
            file.flush()
        return shutil.disk_usage(nearest_existing(out)).free
    except OSError as error:
        raise ReportError(
            f"{OUT_OPTION} {out}", f"cannot be written: {error.strerror}", NAME_WRITABLE_FOLDER
        ) from None


def refuse_data(out: Path, data: Path, called: str, formats: Sequence[str] = ()) -> None:
    """Refuse a folder in which a file of the report would replace data.

    Args:
        out: The folder.
        data: The file.
        called: What it is, for the message.
        formats: Further ones that are to be written.

    Raises:
        ReportError: The data is a file of that name in this folder.
    """
    for name in _names(formats):
        if is_same_file(out / name, data):
            raise ReportError(f"--out {out}", f"its {name} is {called}", "name another folder")


def _names(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the files that a scan writes."""
    return (*_FILES, *(FILES[one] for one in parsed_formats(formats) if one in FILES))
