"""Looks at the header of a .safetensors file before it is read: its length, and the number of tensors."""

from __future__ import annotations

from pathlib import Path

from cohaudit.errors import CohauditError
from cohaudit.untrusted import current_limits, open_regular
from cohaudit.untrusted.limits import RAISE_MEMORY

_LENGTH_SIZE = 8
"""Bytes at the start of the file that hold the length of its header."""


def check_header(path: Path, refuse: type[CohauditError]) -> None:
    """Raise an error if a file is not a regular one, begins with a huge header, or has an odd name.

    Args:
        path: The file.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`.
        OSError: If it cannot be read.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        found = "has a name, or lies in a folder, that is not UTF-8, which the library for such files needs"
        raise refuse(str(path), found, "rename it") from None
    with open_regular(path, refuse) as file:
        length = int.from_bytes(file.read(_LENGTH_SIZE), "little")
        size = file.seek(0, 2)
    most = current_limits().document
    # a header beyond the file is damage, and the library says so without reading it
    if most < length <= size - _LENGTH_SIZE:
        found = (
            f"begins with a header of {length / 1e6:,.0f} MB, and headers are read up to {most / 1e6:,.0f} MB"
        )
        raise refuse(str(path), found, f"get the file again from its source; {RAISE_MEMORY}")


def check_count(path: Path, count: int, refuse: type[CohauditError]) -> None:
    """Raise an error if a file has more tensors than may be read.

    Args:
        path: The file.
        count: Number of its tensors.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`.
    """
    most = current_limits().entries
    if count > most:
        found = f"holds {count:,} tensors, and up to {most:,} are read"
        raise refuse(str(path), found, f"get the file again from its source; {RAISE_MEMORY}")
