"""Sample ids: unique names by which a person can find a sample again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from cohaudit.errors import DataError


def name_sample(source: str, ids: Sequence[str], index: int) -> str:
    """Return a sample's name for messages: the source, the id and, if it differs from the id, the row."""
    row = "" if ids[index] == str(index) else f" (row {index})"
    return f"{source}, sample {ids[index]!r}{row}"


def row_numbers(count: int) -> list[str]:
    """Return the ids of samples without ids of their own: row numbers from 0."""
    return [str(i) for i in range(count)]


def text(value: Any) -> str:
    """Return the value of a label, name or id as text; bytes are decoded as UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_ids(values: npt.NDArray[Any], count: int, where: str) -> list[str]:
    """Return an array or column of ids as text.

    Args:
        values: Ids of any type, [count].
        count: Number of samples.
        where: The array or column, for messages.

    Raises:
        DataError: If there is not one id for each sample.
    """
    if values.ndim != 1 or len(values) != count:
        raise DataError(
            where,
            f"the shape is {list(values.shape)}, but there are {count} samples",
            "give one id for each sample, in the same order",
        )
    # tolist: the text of a plain number is 3, that of a NumPy scalar can be np.int64(3)
    return [text(value) for value in values.tolist()]


def check_ids(ids: Sequence[str], source: str) -> list[str]:
    """Check the ids and return them as a list.

    Raises:
        DataError: If an id is empty, cannot be written as UTF-8, or occurs twice.
    """
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise DataError(f"{source}, row {row}", "the sample's id is empty", "give every sample an id")
        if not is_unicode(name):
            raise DataError(
                f"{source}, row {row}", f"the id {name!r} is not valid Unicode", "rename it, using UTF-8"
            )
        if name in seen:
            raise DataError(
                f"{source}, sample {name!r}",
                f"rows {seen[name]} and {row} have the same id (rows count from 0)",
                "make the ids unique, or name another array or column of ids with ids (--ids)",
            )
        seen[name] = row
    return list(ids)


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; a badly encoded file name and half a character cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
