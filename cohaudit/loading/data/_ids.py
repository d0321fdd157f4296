"""Sample ids: what a person can find a sample again by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from cohaudit.errors import DataError


def name_sample(source: str, ids: Sequence[str], index: int) -> str:
    """Name a sample for an error message: the source, the id and, where the two differ, the row."""
    row = "" if ids[index] == str(index) else f" (row {index})"
    return f"{source}, sample {ids[index]!r}{row}"


def row_numbers(count: int) -> list[str]:
    """Return the ids of samples that have none of their own: 0-based row numbers."""
    return [str(i) for i in range(count)]


def text(value: Any) -> str:
    """Return a label's, name's or id's value as text; bytes are UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_ids(values: npt.NDArray[Any], count: int, where: str) -> list[str]:
    """Turn an array or column of ids into text.

    Args:
        values: [count], of any type that has a text.
        count: How many samples there are.
        where: The array or column, for messages.

    Raises:
        DataError: If it is not one id a sample.
    """
    if values.ndim != 1 or len(values) != count:
        raise DataError(
            where,
            f"ids of shape {values.shape} for {count} samples",
            "give one id a sample, in the order of the samples",
        )
    return [text(value) for value in values.tolist()]


def check_ids(ids: Sequence[str], source: str) -> list[str]:
    """Return the ids as a list, once they are known to be usable.

    Raises:
        DataError: If an id is empty, cannot be written as UTF-8, or occurs twice.
    """
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise DataError(f"{source}, row {row}", "the sample's id is empty", "give every sample an id")
        if not _is_unicode(name):
            raise DataError(
                f"{source}, row {row}", f"the id {name!r} is not valid Unicode", "rename it in UTF-8"
            )
        if name in seen:
            raise DataError(
                f"{source}, sample {name!r}",
                f"rows {seen[name]} and {row} have the same id (rows count from 0)",
                "make the ids unique, or name another column or array with ids (--ids)",
            )
        seen[name] = row
    return list(ids)


def _is_unicode(name: str) -> bool:
    """Tell whether a name can be written out; one from a badly encoded file name cannot."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
