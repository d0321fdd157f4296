"""Opens files of unknown origin: regular files only, as large on disk as they say.

Opening a named pipe waits for a writer, perhaps forever; a device or a file of holes has no end. All of these
are refused before the first byte is read. Errors of the operating system pass through: the caller knows what
the file was meant to be.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from cohaudit.errors import CohauditError
from cohaudit.untrusted.limits import RAISE_MEMORY, current_limits

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
"""Kind of a path → its name in messages."""
_NAME_IT = "name the file that you meant"
"""Remedy for a file that is too large to be what its reader expects."""
_LARGEST_HOLE = 1_000_000_000
"""Bytes that a file may lack on disk: file systems that compress leave out a part of an honest file."""
_DISK_BLOCK = 512
"""Bytes of a block in the operating system's count, whatever the disk's own blocks are."""


def check_regular(path: Path, refuse: type[CohauditError]) -> os.stat_result:
    """Raise an error unless the path is a regular file that takes about its size on disk.

    Args:
        path: The file; links are followed.
        refuse: Class of the error.

    Returns:
        What the operating system says about it.

    Raises:
        CohauditError: An error of class `refuse`, if it is a folder, a pipe, a device or a socket, or is
            full of holes.
        OSError: If there is no such file, or it may not be looked at.
    """
    status = path.stat()
    _check(path, status, refuse)
    return status


def is_regular(path: Path) -> bool:
    """Tell whether a path is a regular file; a name that the system refuses is not."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def open_regular(path: Path, refuse: type[CohauditError]) -> BufferedReader:
    """Open a regular file to read its bytes.

    Args:
        path: The file; links are followed.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`; see `check_regular`.
        OSError: If the file cannot be opened.
    """
    # looked at before it is opened, because opening a device can already do something; and again after it,
    # because another file may have taken its place
    check_regular(path, refuse)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(path, os.fstat(descriptor), refuse)
        return open(descriptor, "rb")  # noqa: PTH123 (a descriptor, not a path)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, refuse: type[CohauditError], limit: int | None = None) -> bytes:
    """Read a whole file that is parsed at once.

    Args:
        path: The file.
        refuse: Class of the error.
        limit: Most bytes; by default what the limits allow for a document.

    Raises:
        CohauditError: An error of class `refuse`, if it is not a regular file, or is larger.
        OSError: If it cannot be read.
    """
    most = current_limits().document if limit is None else limit
    with open_regular(path, refuse) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            found = f"is {size / 1e6:,.0f} MB large, and such a file is read up to {most / 1e6:,.0f} MB"
            # a limit of its own does not follow from the setting
            raise refuse(str(path), found, _NAME_IT if limit else f"{_NAME_IT}; {RAISE_MEMORY}")
        return file.read(most)


def read_text(path: Path, refuse: type[CohauditError], limit: int | None = None) -> str:
    """Read a whole text in UTF-8, with or without a byte order mark; see `read_bytes`.

    Raises:
        CohauditError: An error of class `refuse`, if it is not a regular file, or is larger.
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is not UTF-8.
    """
    # utf-8-sig: editors on Windows may begin a file with a byte order mark
    return read_bytes(path, refuse, limit).decode("utf-8-sig")


def _check(path: Path, status: os.stat_result, refuse: type[CohauditError]) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise refuse(str(path), f"is {kind}, not a regular file", "copy it to a file on disk, and name that")
    # Windows does not count blocks
    on_disk = getattr(status, "st_blocks", status.st_size) * _DISK_BLOCK
    if status.st_size > on_disk + _LARGEST_HOLE and _has_holes(path, status.st_size):
        found = (
            f"is {status.st_size / 1e9:,.0f} GB large by name, but has {on_disk / 1e6:,.0f} MB on the disk"
        )
        raise refuse(str(path), found, "get the file again from its source: the rest of it is holes")


def _has_holes(path: Path, size: int) -> bool:
    """Tell whether more than half of a file is holes; some network drives count no blocks at all."""
    if not hasattr(os, "SEEK_DATA"):
        return True
    stored = at = 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
            stored += at - start
    except OSError:  # no data behind this place
        pass
    finally:
        os.close(descriptor)
    return stored < size // 2
