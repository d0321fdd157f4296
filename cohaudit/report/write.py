"""Files, whole or not at all: written aside, then renamed into place."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cohaudit.errors import ReportError
from cohaudit.report.formats.registry import FILES, parsed_formats, render_formats
from cohaudit.report.html.render import render_html
from cohaudit.results import Audit
from cohaudit.results.json_encode import audit_to_json

_FILES = ("report.html", "audit.json", "samples.csv")
_OUT = "--out"
_ELSEWHERE = "name a folder that you may write to, on a disk with space left"


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
    return _write(Path(out), contents)


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
    return _write(out, contents) if contents else []


def table_to_csv(table: pd.DataFrame) -> str:
    """Return a table as the text of a .csv file.

    Args:
        table: Its index is left out.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # in an id, where the writer leaves it unquoted and readers begin a new row
        return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


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


def write_file(path: str | Path, content: str | bytes, option: str = _OUT) -> Path:
    """Write one file, whole or not at all; a `ReportError` when it cannot be written.

    Args:
        path: The file; an existing one is replaced.
        content: What it is to hold.
        option: Where the path was given, for messages.

    Returns:
        The file.
    """
    path = Path(path)
    (written,) = _write(path.parent, {path.name: content}, option)
    return written


def check_folder(out: Path, option: str = _OUT) -> None:
    """Refuse, before anything expensive happens, a folder that cannot take the report.

    Args:
        out: The folder; it may not exist yet.
        option: Where it was given, for messages.

    Raises:
        ReportError: It, or what should be a folder above it, is a file or may not be written to.
    """
    nearest = _nearest(out)
    if not nearest.is_dir():
        raise ReportError(f"{option} {out}", f"{nearest} is a file, not a folder", "name another folder")
    if not os.access(nearest, os.W_OK):
        raise ReportError(f"{option} {out}", f"{nearest} may not be written to", _ELSEWHERE)


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
        _check_target(out / name)
    try:
        with tempfile.TemporaryFile(dir=_nearest(out), prefix=".cohaudit-") as file:
            file.write(b"cohaudit")
            file.flush()
        return shutil.disk_usage(_nearest(out)).free
    except OSError as error:
        raise ReportError(f"{_OUT} {out}", f"cannot be written: {error.strerror}", _ELSEWHERE) from None


def refuse_existing(path: Path) -> None:
    """Refuse to replace what is there.

    Raises:
        ReportError: There is something of that name.
    """
    if _exists(path):
        raise ReportError(f"--out {path}", "exists already", "name something new, or move it away")


def refuse_source(path: Path, source: Path, option: str = _OUT) -> None:
    """Refuse to write over the file that is read: an audit is all that is left of a scan.

    Args:
        path: The file to write.
        source: The file that is read.
        option: Where the first was given, for messages.

    Raises:
        ReportError: Both are the same file.
    """
    if _same(path, source):
        raise ReportError(f"{option} {path}", "is the audit itself", "name another file")


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
        if _same(out / name, data):
            raise ReportError(f"--out {out}", f"its {name} is {called}", "name another folder")


def _names(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the files that a scan writes."""
    return (*_FILES, *(FILES[one] for one in parsed_formats(formats) if one in FILES))


def _same(path: Path, other: Path) -> bool:
    return _exists(path) and _exists(other) and os.path.realpath(path) == os.path.realpath(other)


def _nearest(out: Path) -> Path:
    """Return a folder, or the first above it that there is."""
    return next(path for path in (out, *out.absolute().parents) if _exists(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a name that the file system refuses
        return False


def _write(folder: Path, contents: Mapping[str, str | bytes], option: str = _OUT) -> list[Path]:
    check_folder(folder, option)
    targets = [folder / name for name in contents]
    for target in targets:
        _check_target(target, option)
    try:
        _write_aside(folder, contents)
    except OSError as error:
        raise ReportError(f"{option} {folder}", f"cannot be written: {error.strerror}", _ELSEWHERE) from None
    return targets


def _check_target(target: Path, option: str = _OUT) -> None:
    if not _exists(target):
        return
    if target.is_dir():
        raise ReportError(f"{option} {target}", "is a folder, where a file is to be written", "move it away")
    # a pipe or a device would be replaced; /dev/stdout looks like a file where a shell sends it to one
    if target.exists() and (not target.is_file() or target.absolute().parent == Path("/dev")):
        raise ReportError(f"{option} {target}", "is no regular file", "name a file, new or to be replaced")


def _write_aside(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    with working_folder(folder) as aside:
        for file, content in contents.items():
            data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
            (aside / file).write_bytes(data)
        for file in contents:
            (aside / file).replace(folder / file)


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write in, inside `folder`: what is whole is renamed from there, the rest removed.

    Args:
        folder: Where the results are to go; made when there is none, and taken away again after an error.
    """
    missing = [path for path in (folder, *folder.absolute().parents) if not _exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cohaudit-") as name:
            yield Path(name)
    except BaseException:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
        raise
