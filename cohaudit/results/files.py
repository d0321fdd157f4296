"""Files, whole or not at all: written aside, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cohaudit.errors import ReportError

OUT_OPTION = "--out"


ELSEWHERE = "name a folder that you may write to, on a disk with space left"


def write_file(path: str | Path, content: str | bytes, option: str = OUT_OPTION) -> Path:
    """Write one file, whole or not at all; a `ReportError` when it cannot be written.

    Args:
        path: The file; an existing one is replaced.
        content: What it is to hold.
        option: Where the path was given, for messages.

    Returns:
        The file.
    """
    path = Path(path)
    (written,) = write_files(path.parent, {path.name: content}, option)
    return written


def check_folder(out: Path, option: str = OUT_OPTION) -> None:
    """Refuse, before anything expensive happens, a folder that cannot take the report.

    Args:
        out: The folder; it may not exist yet.
        option: Where it was given, for messages.

    Raises:
        ReportError: It, or what should be a folder above it, is a file or may not be written to.
    """
    nearest = nearest_existing(out)
    if not nearest.is_dir():
        raise ReportError(f"{option} {out}", f"{nearest} is a file, not a folder", "name another folder")
    if not os.access(nearest, os.W_OK):
        raise ReportError(f"{option} {out}", f"{nearest} may not be written to", ELSEWHERE)


def refuse_existing(path: Path) -> None:
    """Refuse to replace what is there.

    Raises:
        ReportError: There is something of that name.
    """
    if path_exists(path):
        raise ReportError(f"--out {path}", "exists already", "name something new, or move it away")


def refuse_source(path: Path, source: Path, option: str = OUT_OPTION) -> None:
    """Refuse to write over the file that is read: an audit is all that is left of a scan.

    Args:
        path: The file to write.
        source: The file that is read.
        option: Where the first was given, for messages.

    Raises:
        ReportError: Both are the same file.
    """
    if is_same_file(path, source):
        raise ReportError(f"{option} {path}", "is the audit itself", "name another file")


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether two paths lead to one existing file."""
    return path_exists(path) and path_exists(other) and os.path.realpath(path) == os.path.realpath(other)


def nearest_existing(out: Path) -> Path:
    """Return a folder, or the first above it that there is."""
    return next(path for path in (out, *out.absolute().parents) if path_exists(path))


def path_exists(path: Path) -> bool:
    """Return whether anything has this name, a dangling link included."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a name that the file system refuses
        return False


def write_files(folder: Path, contents: Mapping[str, str | bytes], option: str = OUT_OPTION) -> list[Path]:
    """Write files into a folder, all of them or none.

    Args:
        folder: The folder; made when there is none.
        contents: File name → content; text is written as UTF-8.
        option: Where the folder was given, for messages.

    Returns:
        Their paths, in the given order.

    Raises:
        ReportError: One of them cannot be written; the folder is as it was.
    """
    check_folder(folder, option)
    targets = [folder / name for name in contents]
    for target in targets:
        check_target(target, option)
    try:
        _write_aside(folder, contents)
    except OSError as error:
        raise ReportError(f"{option} {folder}", f"cannot be written: {error.strerror}", ELSEWHERE) from None
    return targets


def check_target(target: Path, option: str = OUT_OPTION) -> None:
    """Refuse to replace what is no regular file.

    Args:
        target: The file to write.
        option: Where it was given, for messages.

    Raises:
        ReportError: There is a folder, a pipe or a device of that name.
    """
    if not path_exists(target):
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
    missing = [path for path in (folder, *folder.absolute().parents) if not path_exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cohaudit-") as name:
            yield Path(name)
    except BaseException:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
        raise
