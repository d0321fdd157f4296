"""JSON Lines (https://jsonlines.org): a table of one JSON object a line, its keys the columns."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohaudit.errors import DataError

BOM = "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+\Z")
_SPACE = re.compile(r"[ \t\r\n]*")
_REMEDY = "write one object a line, as pandas' frame.to_json(path, orient='records', lines=True) does"
_KINDS = {list: "an array", tuple: "an object", str: "a text", bool: "true or false", type(None): "null"}


def split_lines(text: str) -> list[str]:
    """Return the lines, each with its end; no text in JSON holds a line end as it is.

    Args:
        text: The file's content, without a byte order mark.
    """
    return _LINE.findall(text)


def is_empty(line: str) -> bool:
    """Tell whether a line holds nothing."""
    return not line.strip(" \t\r\n")


def read_text(path: Path) -> str:
    """Return the file's content, with its byte order mark if it has one.

    Raises:
        DataError: If it cannot be read, or is no text in UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"not UTF-8 text: {error.reason}", "save the file as UTF-8") from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Return the object of each line that is not blank: texts, finite numbers, booleans and None.

    Raises:
        DataError: If the file cannot be read, or a line is anything else.
    """
    lines = split_lines(read_text(path).removeprefix(BOM))
    return [_object(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if not is_empty(line)]


def read_jsonl(path: Path) -> pd.DataFrame:
    """Read a table; a key that a line lacks is a missing value there, as it is to pandas.

    Columns are in the order in which their keys first occur. Those of numbers are int64, or float64 with NaN
    for what is missing; those of booleans bool; others hold texts, numbers, booleans and None as they are.

    Raises:
        DataError: As `read_objects`; or if there is no object.
    """
    rows = read_objects(path)
    if not rows:
        raise DataError(str(path), "the file is empty", "give one JSON object a line, one line a sample")
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def value_span(line: str, key: str) -> tuple[int, int]:
    """Return where the value of a key begins and ends in the line of an object that has it."""
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
    found = _SPACE.match(line, at)
    return found.end() if found else at


def _object(line: str, where: str) -> dict[str, Any]:
    """Return a line's object, or raise an error that says what else it is."""
    try:
        # pairs, not a dict: of a key that occurs twice a dict keeps the last value and says nothing
        found = json.loads(line, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise DataError(where, f"no JSON: {error.msg} at column {error.colno}", _REMEDY) from None
    except RecursionError:
        raise DataError(where, "values nested too deeply", _REMEDY) from None
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(where, f"no usable JSON: {error}", "correct the number") from None
    if not isinstance(found, tuple):
        raise DataError(where, f"{_KINDS.get(type(found), 'a number')}, not an object", _REMEDY)
    row: dict[str, Any] = {}
    for name, value in found:
        if name in row:
            raise DataError(where, f"the key {name!r:.80} occurs twice", "give every key its own name")
        row[name] = value
        _check_value(name, value, where)
    return row


def _check_value(name: str, value: Any, where: str) -> None:
    if isinstance(value, list | tuple):
        raise DataError(
            f"{where}, key {name!r:.80}",
            f"{_KINDS[type(value)]}, where a column has one value",
            "give each number or text a key of its own, store arrays as .npz, or read the file by code:"
            " data = file.py:function (--data)",
        )
    if isinstance(value, float) and not math.isfinite(value):
        found = "NaN, which is no JSON" if math.isnan(value) else "infinite, or too large for a float"
        raise DataError(f"{where}, key {name!r:.80}", found, "correct the value; write null if there is none")
    if not _is_unicode(name) or (isinstance(value, str) and not _is_unicode(value)):
        raise DataError(
            f"{where}, key {name!a:.80}",
            "half a character (an escape \\ud800 to \\udfff without its partner)",
            "write the text as UTF-8",
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _column(values: list[Any]) -> Any:
    """Return the values of a column in the narrowest type that keeps them."""
    kinds = {type(value) for value in values}
    try:
        if kinds == {bool}:
            return np.array(values)
        if kinds == {int}:
            return np.array(values, dtype=np.int64)
        if kinds <= {int, float, type(None)} and kinds != {type(None)}:
            return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError:  # an integer beyond 64 bits stays itself
        pass
    return pd.Series(values, dtype=object)
