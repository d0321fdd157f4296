"""Looks at a zip archive before it is opened: how many entries it has, and what they unpack to."""

from __future__ import annotations

import struct
import zipfile
from io import BufferedReader
from pathlib import Path

from cohaudit.errors import CohauditError
from cohaudit.untrusted.files import open_regular
from cohaudit.untrusted.limits import RAISE_MEMORY, current_limits

_END = b"PK\x05\x06"
"""Begins the record at the end of an archive."""
_END_SIZE = 22
"""Bytes of that record without its comment."""
_LONGEST_COMMENT = 1 << 16
"""Most bytes of the comment behind it."""
_END_64 = b"PK\x06\x06"
"""Begins the same record of an archive with more or larger entries, which lies before the other."""


def listed(path: Path, refuse: type[CohauditError]) -> list[zipfile.ZipInfo]:
    """Return the entries of an archive, after a look at the size of the list.

    Args:
        path: The archive.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`, if it lists more entries than may be read.
        OSError: If it cannot be read.
        BadZipFile: If it is not a whole archive; NotImplementedError or ValueError, if it is a damaged one.
    """
    with open_regular(path, refuse) as file:
        size = _size_of_list(file)
        if size > current_limits().document:
            found = f"lists its entries in {size / 1e6:,.0f} MB, more than a real archive of arrays"
            raise refuse(str(path), found, f"get the file again from its source; {RAISE_MEMORY}")
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    most = current_limits().entries
    if len(entries) > most:
        found = f"holds {len(entries):,} entries, and up to {most:,} are read"
        raise refuse(str(path), found, f"get the file again from its source; {RAISE_MEMORY}")
    return entries


def check_unpacked(path: Path, entries: list[zipfile.ZipInfo], refuse: type[CohauditError]) -> None:
    """Raise an error if the entries of an archive unpack to far more than the archive takes on disk.

    Args:
        path: The archive.
        entries: Its entries.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`.
    """
    on_disk = path.stat().st_size
    # zipfile and torch never unpack more than an entry claims
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > current_limits().unpacked(on_disk):
        found = f"unpacks from {on_disk / 1e6:,.1f} to {unpacked / 1e6:,.0f} MB"
        raise refuse(str(path), found, f"get the file again from its source; {RAISE_MEMORY}")


def _size_of_list(file: BufferedReader) -> int:
    """Return the bytes that an archive says its list of entries has; 0 if it has no end."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - 200))
    tail = file.read()
    file.seek(0)
    lists = [0]
    if (at := tail.rfind(_END)) >= 0 and len(tail) >= at + _END_SIZE:
        lists.append(struct.unpack_from("<L", tail, at + 12)[0])
        # all ones mean that the other record has the number
        if lists[-1] == 0xFFFFFFFF:
            lists.pop()
            large = tail.rfind(_END_64)
            lists.append(struct.unpack_from("<Q", tail, large + 40)[0] if large >= 0 else 0)
    return min(max(lists), size)
