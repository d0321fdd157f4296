"""Looks at a text before it is read as a table: how long its lines are, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cohaudit.errors import CohauditError
from cohaudit.untrusted.files import open_regular
from cohaudit.untrusted.limits import RAISE_MEMORY, current_limits

_BLOCK_SIZE = 1 << 20
"""Bytes to read at a time."""


@dataclass(frozen=True)
class TextSize:
    """Size of a text.

    Attributes:
        bytes: Its length.
        lines: Number of line ends.
    """

    bytes: int
    lines: int


def measured_lines(path: Path, refuse: type[CohauditError]) -> TextSize:
    """Return the size of a text, in constant memory.

    Args:
        path: The file.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`, if a line is longer than a document may be.
        OSError: If the file cannot be read.
    """
    most = current_limits().document
    lines = size = run = 0
    with open_regular(path, refuse) as file:
        while block := file.read(_BLOCK_SIZE):
            size += len(block)
            # either character can end a line; "\r\n" counts twice, which is no harm
            parts = block.replace(b"\r", b"\n").split(b"\n")
            lengths = [run + len(parts[0]), *map(len, parts[1:])]
            lines += len(parts) - 1
            run = lengths[-1]
            if max(lengths) > most:
                found = f"line {lines + 1 if run > most else '…'} is longer than {most / 1e6:,.0f} MB"
                raise refuse(str(path), found, f"write one line for each sample; {RAISE_MEMORY}")
    return TextSize(size, lines + 1)
