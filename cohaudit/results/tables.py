"""A table as the content of a file."""

from __future__ import annotations

import csv
import importlib.util
import io

import pandas as pd

from cohaudit.errors import MissingExtraError


def table_to_csv(table: pd.DataFrame) -> str:
    """Return a table as the text of a .csv file.

    Args:
        table: Its index is left out.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # in an id, where the writer leaves it unquoted and readers begin a new row
        return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def table_to_parquet(table: pd.DataFrame, option: str) -> bytes:
    """Return a table as the content of a .parquet file.

    Args:
        table: Its index is left out.
        option: Where Parquet was asked for, for the message.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    require_pyarrow(option)
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def require_pyarrow(option: str) -> None:
    """Refuse an option that needs pyarrow where it is not installed.

    Args:
        option: The option, for the message.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(option, "pyarrow", "parquet")
