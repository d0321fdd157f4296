"""Tables: .csv, kept as the text that was written; .jsonl and .parquet, with their own types."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path

import pandas as pd

from cohaudit.errors import DataError, MissingExtraError
from cohaudit.loading.data._jsonl import BOM, is_empty, read_jsonl, split_lines

CELL = r'(?:"(?:[^"]++|"")*+"?)?+[^,\r\n]*+'
"""A cell of a .csv as pandas reads it: what is in quotes, if it begins with one, and what follows up to the
comma."""
_ROW = re.compile(rf"(?:{CELL},)*+{CELL}(?:\r\n|[\r\n]|\Z)")
_LINE_END = re.compile(r"\r\n|[\r\n]")


def split_rows(text: str) -> list[str]:
    """Return the rows of a .csv, each with its line end, blank lines too; a row can have several lines.

    Args:
        text: Its content, without a byte order mark.
    """
    return [row for row in _ROW.findall(text) if row]


def is_blank(row: str) -> bool:
    """Tell whether a row is none to pandas."""
    return not row.strip(" \t\r\n")


def first_lines(path: Path) -> list[int]:
    """Return the line, from 1, that each row of a .csv or .jsonl begins in; nothing for a .parquet.

    The header is no row. In a .csv a cell in quotes may hold line ends, which count as an editor counts them.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".jsonl"}:
        return []
    text = path.read_bytes().decode("utf-8").removeprefix(BOM)
    if kind == ".jsonl":
        return [number for number, line in enumerate(split_lines(text), 1) if not is_empty(line)]
    rows = split_rows(text)
    ends = accumulate((len(_LINE_END.findall(row)) for row in rows), initial=1)
    return [line for line, row in zip(ends, rows, strict=False) if not is_blank(row)][1:]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with unique, non-empty column names; rows are numbered from 0.

    Raises:
        DataError: If it cannot be parsed, or a column has no name or one that occurs twice.
    """
    table = _READERS[path.suffix.lower()](path)
    names = [str(name) for name in table.columns]
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(
                f"{path}, column {position}",
                "has no name (an index written along with the table?)",
                "name it in the header, e.g. id",
            )
        if names.index(name) < position:
            raise DataError(f"{path}, column {name!r}", "occurs twice", "give every column its own name")
    return table.set_axis(names, axis="columns").reset_index(drop=True)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read comma-separated values; every cell stays the text that was written.

    Raises:
        DataError: If it is no text in UTF-8, or its rows differ in length.
    """
    try:
        with path.open("rb") as file:
            if b"\0" in file.read(1 << 16):
                raise DataError(str(path), "a binary file, not text", "give comma-separated values in UTF-8")
        # the header is read as a row: pandas would rename repeated columns and take long rows for indexed
        table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise DataError(str(path), "the file is empty", "give a header and one row a sample") from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"not UTF-8 text: {error.reason}", "save the table as UTF-8") from error
    except pd.errors.ParserError as error:
        found = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(
            str(path), f"not a table: {found}", "give every row the cells of the header"
        ) from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis="columns")


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file; a named index becomes a column.

    Raises:
        DataError: If it is damaged.
        MissingExtraError: If pyarrow is not installed.
    """
    try:
        import pyarrow

        table = pd.read_parquet(path, engine="pyarrow")
    except ImportError as error:  # from pandas itself when pyarrow is too old for it
        raise MissingExtraError(str(path), "pyarrow", "parquet") from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(str(path), f"not a readable Parquet file: {error}", "write the file again") from error
    return table.reset_index() if any(name is not None for name in table.index.names) else table


_READERS = {".csv": _read_csv, ".jsonl": read_jsonl, ".parquet": _read_parquet}
