"""How a .csv is written: its encoding, its separator, and what stands before its header.

RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180) knows commas alone. Spreadsheets of half the world write
semicolons, because their decimal point is a comma; others write tabs, UTF-16, or a first line that is no row.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import pandas as pd

from cohaudit.errors import DataError
from cohaudit.untrusted import current_limits, open_regular
from cohaudit.untrusted.limits import RAISE_MEMORY
from cohaudit.untrusted.lines import measured_lines

BOM = "\ufeff"
"""Byte order mark, which some programs write at the start of a file."""
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""First bytes of a text in UTF-16 → its encoding."""
_SEPARATORS = ",;\t"
"""Characters that separate cells, the likeliest first."""
_NAMED_SEPARATOR = re.compile(r"sep=(.)[\r\n]*", re.IGNORECASE)
"""A first line that names the separator, which Excel writes and reads."""
_COMMENT = "#"
"""Begins a line above the header that is no row."""
_HEAD_SIZE = 1 << 20
"""Bytes at the start of a file that show how it is written; a header of 100,000 columns fits."""
_COLUMNS_PER_ENTRY = 4
"""Columns that a table may have for each tensor that a checkpoint may have: a column takes less memory."""
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?\s*")
"""A number as it is written where the decimal point is a comma."""
_LINE_END = re.compile(r"\r\n|[\r\n]")
"""Line end of any system."""


@dataclass(frozen=True)
class Dialect:
    """How a .csv is written.

    Attributes:
        encoding: Encoding that keeps a byte order mark as the first character.
        separator: Character between two cells.
        skipped: Lines above the header that are no rows.
    """

    encoding: str = "utf-8"
    separator: str = ","
    skipped: int = 0

    def decoded(self, content: bytes) -> tuple[str, str]:
        """Return the part of a file that is no table (byte order mark, lines above the header), and the rest.

        Raises:
            UnicodeDecodeError: If the content has another encoding.
        """
        text = content.decode(self.encoding)
        end = len(text) - len(text.removeprefix(BOM))
        for _ in range(self.skipped):
            line_end = _LINE_END.search(text, end)
            end = line_end.end() if line_end else len(text)
        return text[:end], text[end:]


def dialect_of(path: Path) -> Dialect:
    """Find out how a .csv is written, by its first lines.

    Raises:
        DataError: If the file is empty, not text, or not a regular file.
        OSError: If it cannot be read.
    """
    with open_regular(path, DataError) as file:
        head = file.read(_HEAD_SIZE)
    encoding = _UTF_16.get(head[:2], "utf-8")
    if encoding == "utf-8" and b"\0" in head:
        raise DataError(str(path), "is a binary file, not text", "give comma-separated values in UTF-8")
    # cut characters at the end do not matter here; wrong ones are reported by the reader, with their place
    lines = head.decode(encoding, "replace").removeprefix(BOM).splitlines()
    if lines and (named := _NAMED_SEPARATOR.fullmatch(lines[0])):
        return Dialect(encoding, named[1], 1)
    skipped = 0
    while skipped + 1 < len(lines) and _is_comment(lines[skipped], lines[skipped + 1]):
        skipped += 1
    header = next((line for line in lines[skipped:] if line.strip()), "")
    return Dialect(encoding, _separator(header), skipped)


def _is_comment(line: str, after: str) -> bool:
    """Tell whether a line is no row: `#chrom,pos` above rows of two cells is a header."""
    if not line.startswith(_COMMENT):
        return False
    separator = _separator(after)
    return line.count(separator) != after.count(separator) or after.startswith(_COMMENT)


def _separator(header: str) -> str:
    """Return the likeliest separator that a header has outside quotes; a comma if it has none."""
    outside = re.sub(r'"[^"]*"', "", header)
    return next((one for one in _SEPARATORS if one in outside), ",")


def check_bounds(path: Path, dialect: Dialect) -> None:
    """Raise an error for a table that takes far more memory than its file: pandas fills short rows up.

    Raises:
        DataError: If a line is too long, there are too many columns, or most rows are too short.
        OSError: If the file cannot be read.
    """
    size = measured_lines(path, DataError)
    with open_regular(path, DataError) as file:
        head = file.read(_HEAD_SIZE).decode(dialect.encoding, "replace")
    lines = [line for line in head.splitlines()[dialect.skipped :] if line.strip()]
    columns = 1 + max((line.count(dialect.separator) for line in lines[:2]), default=0)
    most = current_limits().entries * _COLUMNS_PER_ENTRY
    if columns > most:
        found = f"has {columns:,} columns, and up to {most:,} are read"
        raise DataError(str(path), found, f"store arrays as .npz; {RAISE_MEMORY}")
    # each cell of a whole row takes at least the byte of its separator
    if columns * size.lines > size.bytes + current_limits().memory // 8:
        found = f"has {columns:,} columns in its header, and {size.lines:,} lines that are mostly shorter"
        raise DataError(str(path), found, "give every row as many cells as the header")


def with_decimal_points(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text in which numbers with a decimal comma have a decimal point.

    A column is changed as a whole, if each of its cells is a number or empty, and one has a comma.

    Args:
        table: Cells as text; the separator of their file is not a comma.
    """
    changed: dict[str, pd.Series[str]] = {}
    for name, column in table.items():
        if column.str.contains(",", regex=False).any():
            cells = column.str.strip()
            if (cells.str.fullmatch(_DECIMAL_COMMA) | (cells == "")).all():
                changed[str(name)] = column.str.replace(",", ".", regex=False)
    return table.assign(**changed) if changed else table


@cache
def cell_pattern(separator: str) -> str:
    """Return a pattern for a cell of a .csv as pandas reads it.

    That is quoted text if it begins with a quote, then anything up to a separator. The possessive quantifiers
    (`*+`) keep the time linear in the length of a hostile file.

    Args:
        separator: Character between two cells.
    """
    return rf'(?:"(?:[^"]++|"")*+"?)?+[^{re.escape(separator)}\r\n]*+'


@cache
def _row_pattern(separator: str) -> re.Pattern[str]:
    cell = cell_pattern(separator)
    return re.compile(rf"(?:{cell}{re.escape(separator)})*+{cell}(?:\r\n|[\r\n]|\Z)")


def split_rows(text: str, separator: str = ",") -> list[str]:
    """Return the rows of a .csv with their line ends, including blank lines; a row can span several lines.

    Args:
        text: Content of the file from the header on.
        separator: Character between two cells.
    """
    return [row for row in _row_pattern(separator).findall(text) if row]


def is_blank(row: str, separator: str = ",") -> bool:
    """Tell whether pandas skips a row of a .csv as blank."""
    return not row.strip(" \t\r\n".replace(separator, ""))


def row_lines(content: bytes, dialect: Dialect) -> list[int]:
    """Return the line where each row begins, from 1; the header does not count as a row.

    Args:
        content: Content of the file.
        dialect: How it is written.
    """
    before, text = dialect.decoded(content)
    rows = split_rows(text, dialect.separator)
    # a row begins in the line where the row before it ends
    first = 1 + len(_LINE_END.findall(before))
    ends = accumulate((len(_LINE_END.findall(row)) for row in rows), initial=first)
    lines = [line for line, row in zip(ends, rows, strict=False) if not is_blank(row, dialect.separator)]
    return lines[1:]
