"""Reads JSON Lines (https://jsonlines.org): one JSON object on each line, whose keys are the columns."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohaudit.errors import DataError
from cohaudit.loading.data._delimited import BOM
from cohaudit.loading.data._ids import is_unicode
from cohaudit.untrusted import current_limits
from cohaudit.untrusted.limits import RAISE_MEMORY
from cohaudit.untrusted.lines import measured_lines

_LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+\Z")
"""A line with its end. Not str.splitlines, which also splits at characters that JSON allows in a text."""
_BYTES_PER_VALUE = 8
"""Bytes of a value in a column."""
_SPACE = re.compile(r"[ \t\r\n]*")
"""White space as JSON defines it."""
_WRITE_LINES = "write one object on each line, like pandas' frame.to_json(path, orient='records', lines=True)"
"""Remedy for a file that is not JSON Lines."""
_PLAIN_TYPES = frozenset({int, float, str, bool, type(None)})
"""Types of values that a column holds."""
_JSON_TYPES = {list: "an array", tuple: "an object", str: "a text", bool: "true or false", type(None): "null"}
"""Type of a parsed value → its name in JSON; objects are parsed as tuples of pairs."""


def split_lines(text: str) -> list[str]:
    """Return the lines of a file, each with its end. A text in JSON cannot contain a raw line end.

    Args:
        text: Content of the file, without a byte order mark.
    """
    return _LINE.findall(text)


def is_empty(line: str) -> bool:
    """Tell whether a line holds only white space."""
    return not line.strip(" \t\r\n")


def read_text(path: Path) -> str:
    """Return the content of a file, including a byte order mark.

    Raises:
        DataError: If the file cannot be read, or is not UTF-8 text.
    """
    try:
        measured_lines(path, DataError)
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"is not UTF-8 text: {error.reason}", "save the file as UTF-8") from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Return the object of each line that is not blank, with texts, finite numbers, booleans and None.

    Raises:
        DataError: If the file cannot be read, or a line is not such an object.
    """
    lines = split_lines(read_text(path).removeprefix(BOM))
    return [_object(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if not is_empty(line)]


def read_jsonl(path: Path) -> pd.DataFrame:
    """Read a table. A key that is not in a line is a missing value there, as in pandas.

    Columns are in the order in which their keys first occur. Columns of numbers are int64, or float64 with
    NaN for missing values. Columns of booleans are bool. Other columns hold the parsed values unchanged.

    Raises:
        DataError: If the file cannot be read, a line is not an object, or there is no object.
    """
    rows = read_objects(path)
    if not rows:
        raise DataError(
            str(path), "the file is empty", "write one JSON object on each line, one line for each sample"
        )
    names = dict.fromkeys(name for row in rows for name in row)
    # a value that is missing takes as much memory as one that is there
    if len(names) * len(rows) * _BYTES_PER_VALUE > current_limits().unpacked(path.stat().st_size):
        found = f"has {len(rows):,} lines with {len(names):,} keys, most of which are in few lines"
        raise DataError(str(path), found, f"give every line the same keys; {RAISE_MEMORY}")
    return _frame({name: _column([row.get(name) for row in rows]) for name in names})


def _frame(columns: dict[str, Any]) -> pd.DataFrame:
    """Return columns as a table. Those of one type are one array: pandas takes long for each column."""
    kinds: dict[Any, list[str]] = {}
    for name, column in columns.items():
        kinds.setdefault(column.dtype, []).append(name)
    blocks = [
        pd.DataFrame({name: columns[name] for name in names})
        if kind.hasobject  # as one array, None becomes NaN
        else pd.DataFrame(np.stack([columns[name] for name in names], axis=1), columns=names)
        for kind, names in kinds.items()
    ]
    return pd.concat(blocks, axis="columns")[list(columns)]


def value_span(line: str, key: str) -> tuple[int, int]:
    """Return the start and end of a key's value in a line whose object has the key."""
    decoder = json.JSONDecoder()
    at = line.index("{") + 1
    while True:
        name, at = decoder.raw_decode(line, _after_space(line, at))
        start = _after_space(line, _after_space(line, at) + 1)
        _, end = decoder.raw_decode(line, start)
        if name == key:
            return start, end
        at = _after_space(line, end) + 1


def _after_space(line: str, at: int) -> int:
    space = _SPACE.match(line, at)
    return space.end() if space else at


def _object(line: str, where: str) -> dict[str, Any]:
    """Return the object of a line, or raise an error that says what the line is instead."""
    try:
        # pairs, not a dict: a dict would silently keep only the last value of a key that occurs twice
        pairs = json.loads(line, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        found = f"is not valid JSON: {error.msg} at column {error.colno}"
        raise DataError(where, found, _WRITE_LINES) from None
    except RecursionError:
        raise DataError(where, "is nested too deeply", _WRITE_LINES) from None
    except ValueError as error:  # Python refuses integers of thousands of digits
        raise DataError(where, f"cannot be read as JSON: {error}", "correct the number") from None
    if not isinstance(pairs, tuple):
        kind = _JSON_TYPES.get(type(pairs), "a number")
        raise DataError(where, f"is {kind}, not an object", _WRITE_LINES)
    row: dict[str, Any] = dict(pairs)
    if len(row) < len(pairs) or not _is_plain(row, line):
        _check_pairs(pairs, where)
    return row


def _is_plain(row: dict[str, Any], line: str) -> bool:
    """Tell whether a table can hold all values for certain; checked as a whole, as lines can be long."""
    kinds = set(map(type, row.values()))
    return (
        kinds <= _PLAIN_TYPES
        and "\\" not in line  # without an escape there is no half of a character
        and (float not in kinds or all(math.isfinite(one) for one in row.values() if type(one) is float))
    )


def _check_pairs(pairs: tuple[tuple[str, Any], ...], where: str) -> None:
    """Raise an error if a key occurs twice, or a column of a table cannot hold a value."""
    seen = set()
    for name, value in pairs:
        if name in seen:
            raise DataError(where, f"the key {name!r:.80} occurs twice", "give every key its own name")
        seen.add(name)
        _check_value(name, value, where)


def _check_value(name: str, value: Any, where: str) -> None:
    """Raise an error if a column of a table cannot hold a value."""
    # refused here, with the line: a column of lists would fail later, without one
    if isinstance(value, list | tuple):
        raise DataError(
            f"{where}, key {name!r:.80}",
            f"is {_JSON_TYPES[type(value)]}, but a column holds single values",
            "give each number or text its own key, store arrays as .npz, or read the file with your own code:"
            " data = file.py:function (--data)",
        )
    if isinstance(value, float) and not math.isfinite(value):
        found = "is NaN, which JSON does not allow" if math.isnan(value) else "is infinite or too large"
        raise DataError(
            f"{where}, key {name!r:.80}", found, "correct the value, or write null if it is missing"
        )
    if not is_unicode(name) or (isinstance(value, str) and not is_unicode(value)):
        raise DataError(
            f"{where}, key {name!a:.80}",
            "holds half a character: a \\ud800 to \\udfff escape without its other half",
            "write the text as UTF-8",
        )


def _column(values: list[Any]) -> Any:
    """Return the values of a column as an array of the narrowest type that holds them all."""
    types = {type(value) for value in values}
    try:
        if types == {bool}:
            return np.array(values)
        if types == {int}:
            return np.array(values, dtype=np.int64)
        if types <= {int, float, type(None)} and types != {type(None)}:
            return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError:  # integers beyond 64 bits stay Python integers
        pass
    return pd.Series(values, dtype=object)
