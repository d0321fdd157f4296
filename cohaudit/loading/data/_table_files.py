"""Reads tables: .csv as the text in the file, .jsonl and .parquet with their own types."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cohaudit.errors import DataError, MissingExtraError, printable
from cohaudit.loading.data._delimited import (
    BOM,
    check_bounds,
    dialect_of,
    row_lines,
    with_decimal_points,
)
from cohaudit.loading.data._jsonl import is_empty, read_jsonl, split_lines
from cohaudit.untrusted import Rehearsal, check_regular, current_limits, open_regular, rehearse
from cohaudit.untrusted.limits import RAISE_MEMORY, RAISE_SECONDS

_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Separator → its name in messages."""
_FOOTER_END = 8
"""Bytes at the end of a Parquet file: the length of its footer as uint32, and PAR1."""
_FOOTER_PER_SECOND = 10_000_000
"""Bytes of a footer that earn another second: 100,000 columns take 44 MB and 3.7 s of one processor core."""


def first_lines(path: Path) -> list[int]:
    """Return the line where each row of a .csv or .jsonl begins, from 1; an empty list for a .parquet.

    The header does not count as a row. Line ends inside quoted cells count as lines, as in an editor.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".jsonl"}:
        return []
    content = path.read_bytes()
    if kind == ".csv":
        return row_lines(content, dialect_of(path))
    text = content.decode("utf-8").removeprefix(BOM)
    return [number for number, line in enumerate(split_lines(text), 1) if not is_empty(line)]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with unique, non-empty column names; rows are numbered from 0.

    Raises:
        DataError: If the file cannot be parsed, or a column has no name or the name of another.
        MissingExtraError: If pyarrow is needed and not installed.
    """
    table = _READERS[path.suffix.lower()](path)
    names = [str(name) for name in table.columns]
    seen = set()
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(
                f"{path}, column {position}",
                "has no name; it may be an index that was written with the table",
                "name the column in the header, such as id",
            )
        if name in seen:
            raise DataError(f"{path}, column {name!r:.80}", "occurs twice", "give every column its own name")
        seen.add(name)
    return table.set_axis(names, axis="columns").reset_index(drop=True)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read separated values; every cell keeps its text, but for decimal commas beside other separators.

    Raises:
        DataError: If the file is not text, or its rows differ in length.
    """
    try:
        dialect = dialect_of(path)
        check_bounds(path, dialect)
        # the header is read as a row: else pandas renames repeated columns and reads long rows as indexed
        # as objects and no NaN: ids such as 007 and class names such as NA must keep their spelling
        table = pd.read_csv(
            path,
            header=None,
            dtype=object,
            keep_default_na=False,
            sep=dialect.separator,
            skiprows=dialect.skipped,
            encoding="utf-8-sig" if dialect.encoding == "utf-8" else "utf-16",
        ).copy()  # brings all columns together: one by one, 100,000 of them take minutes
    except pd.errors.EmptyDataError as error:
        raise DataError(
            str(path), "the file is empty", "give a header and one row for each sample"
        ) from error
    except UnicodeError as error:
        reason = getattr(error, "reason", str(error))
        raise DataError(str(path), f"is not UTF-8 text: {reason}", "save the table as UTF-8") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        between = _SEPARATOR_NAMES.get(dialect.separator, repr(dialect.separator))
        raise DataError(
            str(path),
            f"is not a table of cells between {between}: {reason}",
            "give every row as many cells as the header, and close every quote",
        ) from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error
    cells = table.iloc[1:].set_axis(table.iloc[0].tolist(), axis="columns")
    return cells if dialect.separator == "," or not cells.columns.is_unique else with_decimal_points(cells)


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file; a named index becomes a column.

    Raises:
        DataError: If the file is damaged, or takes too much time or memory.
        MissingExtraError: If pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 (without it there is nothing to rehearse)
    except ImportError as error:
        raise MissingExtraError(str(path), "pyarrow", "parquet") from error
    try:
        size = check_regular(path, DataError).st_size
        limits = current_limits()
        columns = _footer_size(path, size)
        rehearsal = rehearse(
            lambda: _parquet_frame(path),
            limits.unpacked(size + columns),
            limits.time(size) + columns / _FOOTER_PER_SECOND,
        )
        if not rehearsal.went_well:
            refused = _refused_parquet(path, rehearsal)
            raise refused
        table = _parquet_frame(path)
    except DataError:
        raise
    except ImportError as error:  # pandas itself raises it if pyarrow is too old
        raise MissingExtraError(str(path), "pyarrow", "parquet") from error
    except Exception as error:  # damaged metadata reach pandas and JSON, which can raise anything
        raise DataError(
            str(path), f"is not a readable Parquet file: {printable(str(error), 300)}", "write the file again"
        ) from error
    return table.reset_index() if any(name is not None for name in table.index.names) else table


def _footer_size(path: Path, size: int) -> int:
    """Return the bytes that describe the columns at a Parquet file's end, at most those of the file.

    Parsed, they take some ten times as much: with 100,000 columns, most of what reading the file takes.
    """
    with open_regular(path, DataError) as file:
        file.seek(max(0, size - _FOOTER_END))
        return min(size, int.from_bytes(file.read(4), "little"))


def _parquet_frame(path: Path) -> pd.DataFrame:
    """Read a Parquet file with pyarrow, which is imported."""
    import pyarrow.parquet

    # not read_table, which looks each column up among all of them: 100,000 take minutes
    # without threads: those of this process are not in the copy that rehearses
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        frame: pd.DataFrame = file.read(use_threads=False).to_pandas(use_threads=False)
    return frame


def _refused_parquet(path: Path, rehearsal: Rehearsal) -> DataError:
    match rehearsal.outcome:
        case "time":
            return DataError(str(path), "takes too long to read", f"write the file again; {RAISE_SECONDS}")
        case "memory":
            found = "takes far more memory than its size on disk"
            return DataError(str(path), found, f"write the file again; {RAISE_MEMORY}")
        case "crashed":
            # pyarrow also aborts if memory ends where it cannot raise
            found = "ends the process that reads it: it is damaged, or takes more memory than it may"
            return DataError(str(path), found, f"write the file again; {RAISE_MEMORY}")
        case _:
            reason = printable(rehearsal.text or rehearsal.error, 300)
            return DataError(str(path), f"is not a readable Parquet file: {reason}", "write the file again")


_READERS = {".csv": _read_csv, ".jsonl": read_jsonl, ".parquet": _read_parquet}
"""Extension → function that reads such a table."""
