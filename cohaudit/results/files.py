"""Writes files whole or not at all: into a temporary folder, then renamed into place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cohaudit.errors import ReportError
from cohaudit.results.working_folders import make_working_folder, put_in_place

OUT_OPTION = "--out"
"""Option that names the folder of the results."""

NAME_WRITABLE_FOLDER = "name a folder with write permission, on a disk with free space"
"""What to do when files cannot be written."""


def write_file(path: str | Path, content: str | bytes, option: str = OUT_OPTION) -> Path:
    """Write one file, whole or not at all.

    Args:
        path: The file; an existing one is replaced.
        content: Content of the file; text is written as UTF-8.
        option: Option that the path was given with, for messages.

    Returns:
        The file.

    Raises:
        ReportError: The file cannot be written.
    """
    path = Path(path)
    (written,) = write_files(path.parent, {path.name: content}, option)
    return written


def check_folder(out: Path, option: str = OUT_OPTION) -> None:
    """Refuse, before anything expensive happens, a folder that cannot take the report.

    Args:
        out: The folder; it need not exist yet.
        option: Option that it was given with, for messages.

    Raises:
        ReportError: The folder, or one above it, is a file or has no write permission.
    """
    try:
        out.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it will be made, or the next check says why it cannot
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        found = f"no folder can have this name: {getattr(error, 'strerror', None) or error}"
        raise ReportError(f"{option} {out}", found, "name another folder") from None
    nearest = nearest_existing(out)
    if not nearest.is_dir():
        raise ReportError(f"{option} {out}", f"{nearest} is a file, not a folder", "name another folder")
    if not os.access(nearest, os.W_OK):
        raise ReportError(f"{option} {out}", f"{nearest} has no write permission", NAME_WRITABLE_FOLDER)


def refuse_existing(path: Path) -> None:
    """Refuse a path that exists.

    Raises:
        ReportError: Something has this name.
    """
    if path_exists(path):
        raise ReportError(f"--out {path}", "exists already", "give a new name, or move it away")


def refuse_source(path: Path, source: Path, option: str = OUT_OPTION) -> None:
    """Refuse to overwrite the audit that is read: nothing else is left of a scan.

    Args:
        path: The file to write.
        source: The file that is read.
        option: Option that the file to write was given with, for messages.

    Raises:
        ReportError: Both are the same file.
    """
    if is_same_file(path, source):
        raise ReportError(f"{option} {path}", "is the audit itself", "name another file")


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether two paths lead to one existing file."""
    return path_exists(path) and path_exists(other) and os.path.realpath(path) == os.path.realpath(other)


def nearest_existing(out: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    # never empty: the root exists
    return next(path for path in (out, *out.absolute().parents) if path_exists(path))


def path_exists(path: Path) -> bool:
    """Return whether anything has this name, including a dangling link."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a name that the file system refuses, such as a too long one
        return False


def write_files(folder: Path, contents: Mapping[str, str | bytes], option: str = OUT_OPTION) -> list[Path]:
    """Write files into a folder, all of them or none.

    Args:
        folder: The folder; created if needed.
        contents: File name → content; text is written as UTF-8.
        option: Option that the folder was given with, for messages.

    Returns:
        The paths of the files, in the given order.

    Raises:
        ReportError: A file cannot be written; the folder is unchanged.
    """
    # every target before the first is written: all of them or none
    check_folder(folder, option)
    targets = [folder / name for name in contents]
    for target in targets:
        check_target(target, option)
    try:
        _write_aside(folder, contents)
    except OSError as error:
        raise ReportError(
            f"{option} {folder}", f"cannot be written: {error.strerror}", NAME_WRITABLE_FOLDER
        ) from None
    return targets


def check_target(target: Path, option: str = OUT_OPTION) -> None:
    """Refuse to replace anything but a regular file.

    Args:
        target: The file to write.
        option: Option that it was given with, for messages.

    Raises:
        ReportError: A folder, a pipe, or a device has this name.
    """
    if not path_exists(target):
        return
    if target.is_dir():
        raise ReportError(
            f"{option} {target}", "is a folder, not a file", "move it away, or give another name"
        )
    # renaming would replace a pipe or a device; /dev/stdout is a regular file when the shell redirects it
    if target.exists() and (not target.is_file() or target.absolute().parent == Path("/dev")):
        raise ReportError(f"{option} {target}", "is not a regular file", "give the name of a file")


def _write_aside(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    with working_folder(folder) as aside:
        for file, content in contents.items():
            # ids and labels come from files, and can hold characters that UTF-8 cannot encode
            data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
            (aside / file).write_bytes(data)
        # only after all of them are written: a full disk leaves the folder as it was
        put_in_place(aside, folder, list(contents))


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder inside `folder`; complete results are renamed from there, the rest is removed.

    It is inside the target, because files can only be renamed within one file system.

    Args:
        folder: Folder of the results; created if needed, and removed again after an error.
    """
    # noted before anything is created, so that only these are removed again
    missing = [path for path in (folder, *folder.absolute().parents) if not path_exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with make_working_folder(folder) as name:
            yield Path(name)
    # BaseException: Ctrl-C must not leave an empty folder either
    except BaseException:
        # innermost first: only an empty folder can be removed
        for made in missing:
            # rmdir removes empty folders only: files of others that appeared meanwhile stay
            with contextlib.suppress(OSError):
                made.rmdir()
        raise
