"""Tables as the content of files."""

from __future__ import annotations

import csv
import importlib.util
import io
from typing import Any

import pandas as pd

from cohaudit.errors import MissingExtraError
from cohaudit.results.spreadsheets import harmless_table


def table_to_csv(table: pd.DataFrame) -> str:
    """Return a table as the text of a .csv file, without its index; no cell is a formula of a spreadsheet."""
    table = harmless_table(table)
    # the same line ends on every system: equal audits give equal files
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # pandas does not quote a carriage return in an id, and readers begin a new row there
        return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def table_to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries: column → value.

    Args:
        table: Its index is left out.
    """
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def table_to_parquet(table: pd.DataFrame, option: str) -> bytes:
    """Return a table as the content of a .parquet file, without its index.

    Args:
        table: The table.
        option: Option that asks for Parquet, for the message.

    Raises:
        MissingExtraError: The package pyarrow is not installed.
    """
    require_pyarrow(option)
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def require_pyarrow(option: str) -> None:
    """Refuse an option that needs pyarrow when pyarrow is not installed.

    Args:
        option: The option, for the message.

    Raises:
        MissingExtraError: The package pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(option, "pyarrow", "parquet")
