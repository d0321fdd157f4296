"""Reads tables: .csv as the text in the file, .jsonl and .parquet with their own types."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path

import pandas as pd

from cohaudit.errors import DataError, MissingExtraError
from cohaudit.loading.data._jsonl import BOM, is_empty, read_jsonl, split_lines

CELL = r'(?:"(?:[^"]++|"")*+"?)?+[^,\r\n]*+'
"""A cell of a .csv as pandas reads it: quoted text if it begins with a quote, then anything up to a comma.

The possessive quantifiers (`*+`) keep the time linear in the length of a hostile file.
"""
_ROW = re.compile(rf"(?:{CELL},)*+{CELL}(?:\r\n|[\r\n]|\Z)")
"""A row of a .csv with its line end."""
_LINE_END = re.compile(r"\r\n|[\r\n]")
"""Line end of any system."""
_BINARY_CHECK_SIZE = 1 << 16
"""Bytes at the start of a .csv to search for a zero byte, which no text holds."""


def split_rows(text: str) -> list[str]:
    """Return the rows of a .csv with their line ends, including blank lines; a row can span several lines.

    Args:
        text: Content of the file, without a byte order mark.
    """
    return [row for row in _ROW.findall(text) if row]


def is_blank(row: str) -> bool:
    """Tell whether pandas skips a row of a .csv as blank."""
    return not row.strip(" \t\r\n")


def first_lines(path: Path) -> list[int]:
    """Return the line where each row of a .csv or .jsonl begins, from 1; an empty list for a .parquet.

    The header does not count as a row. Line ends inside quoted cells count as lines, as in an editor.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".jsonl"}:
        return []
    text = path.read_bytes().decode("utf-8").removeprefix(BOM)
    if kind == ".jsonl":
        return [number for number, line in enumerate(split_lines(text), 1) if not is_empty(line)]
    rows = split_rows(text)
    # a row begins in the line where the row before it ends
    ends = accumulate((len(_LINE_END.findall(row)) for row in rows), initial=1)
    return [line for line, row in zip(ends, rows, strict=False) if not is_blank(row)][1:]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with unique, non-empty column names; rows are numbered from 0.

    Raises:
        DataError: If the file cannot be parsed, or a column has no name or the name of another.
        MissingExtraError: If pyarrow is needed and not installed.
    """
    table = _READERS[path.suffix.lower()](path)
    names = [str(name) for name in table.columns]
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(
                f"{path}, column {position}",
                "has no name; it may be an index that was written with the table",
                "name the column in the header, such as id",
            )
        if names.index(name) < position:
            raise DataError(f"{path}, column {name!r}", "occurs twice", "give every column its own name")
    return table.set_axis(names, axis="columns").reset_index(drop=True)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read comma-separated values; every cell keeps its text.

    Raises:
        DataError: If the file is not UTF-8 text, or its rows differ in length.
    """
    try:
        with path.open("rb") as file:
            if b"\0" in file.read(_BINARY_CHECK_SIZE):
                raise DataError(
                    str(path), "is a binary file, not text", "give comma-separated values in UTF-8"
                )
        # the header is read as a row: else pandas renames repeated columns and reads long rows as indexed
        # dtype=str and no NaN: ids such as 007 and class names such as NA must keep their spelling
        table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise DataError(
            str(path), "the file is empty", "give a header and one row for each sample"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"is not UTF-8 text: {error.reason}", "save the table as UTF-8") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(
            str(path),
            f"is not a table: {reason}",
            "give every row as many cells as the header, and close every quote",
        ) from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis="columns")


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file; a named index becomes a column.

    Raises:
        DataError: If the file is damaged.
        MissingExtraError: If pyarrow is not installed.
    """
    try:
        import pyarrow

        table = pd.read_parquet(path, engine="pyarrow")
    except ImportError as error:  # pandas itself raises it if pyarrow is too old
        raise MissingExtraError(str(path), "pyarrow", "parquet") from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(
            str(path), f"is not a readable Parquet file: {error}", "write the file again"
        ) from error
    return table.reset_index() if any(name is not None for name in table.index.names) else table


_READERS = {".csv": _read_csv, ".jsonl": read_jsonl, ".parquet": _read_parquet}
"""Extension → function that reads such a table."""
