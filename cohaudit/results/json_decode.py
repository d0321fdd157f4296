"""JSON as the dataclasses of the results, strictly: their types decide what is accepted.

Arrays become tuples, and a missing number in the table of samples becomes NaN: what was written is what
is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, assert_never, cast

import pandas as pd

from cohaudit.results.estimate import Skipped
from cohaudit.results.sample_table import as_sample_table
from cohaudit.results.shape import (
    AnyValue,
    ArrayOf,
    Cell,
    Choice,
    ColumnTable,
    Nullable,
    ObjectOf,
    Record,
    Scalar,
    ScalarType,
    Shape,
    Skippable,
    shape_of,
)

T = TypeVar("T")

JSON_TYPE_NAMES: Mapping[type, str] = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "an array",
    type(None): "null",
}
"""Type that `json.loads` gives → its name in messages."""

INTEGER_LIMIT = 2**63
"""Whole numbers of an audit are smaller: pandas and the report's JavaScript hold no larger ones."""


class UnexpectedError(Exception):
    """A value that an audit does not have in this place.

    Args:
        place: JSON path, from '$'.
        found: What was found there.
    """

    def __init__(self, place: str, found: str) -> None:
        super().__init__(place, found)
        self.place = place
        self.found = found


def decode_as(kind: type[T], value: object) -> T:
    """Turn what `json.loads` returned into a dataclass of the results.

    Args:
        kind: The dataclass.
        value: The content.

    Raises:
        UnexpectedError: The content has another shape.
    """
    return cast(T, _decode(value, shape_of(kind), "$"))


def _decode(value: object, shape: Shape, place: str) -> Any:
    match shape:
        case Scalar() | Choice() | Nullable():
            return _decode_cell(value, shape, place)
        case Skippable(measured):
            # only a measurement that was skipped has this key, and no other
            if isinstance(value, dict) and value.keys() == {"skipped"}:
                return _decode(value["skipped"], shape_of(Skipped), f"{place}.skipped")
            return _decode(value, measured, place)
        case ArrayOf(item):
            return tuple(_decode(v, item, f"{place}[{i}]") for i, v in enumerate(_array(value, place)))
        case ObjectOf(inner):
            return _decode_object(value, inner, place)
        case Record():
            return _decode_record(value, shape, place)
        case ColumnTable():
            return _decode_table(value, shape, place)
        case AnyValue():
            return _decode_any(value, place)
    assert_never(shape)


def _decode_cell(value: object, shape: Cell, place: str) -> Any:
    match shape:
        case Scalar():
            return _decode_scalar(value, shape.type, place)
        case Choice(values):
            if value not in values:
                # cut, as every value that a message quotes: a damaged file can hold texts of any length
                raise UnexpectedError(place, f"is {value!r:.80}, not one of {', '.join(values)}")
            return value
        case Nullable(scalar):
            return None if value is None else _decode_scalar(value, scalar.type, place)
    assert_never(shape)


def _decode_scalar(value: object, kind: ScalarType, place: str) -> str | bool | int | float:
    if kind is float and type(value) is int:  # JSON has one type of number: 1 is 1.0
        value = _as_float(value)
    # not isinstance: True is an int in Python, and not a number in JSON
    if type(value) is not kind:
        raise _wrong_type(value, kind, place)
    if isinstance(value, float) and not math.isfinite(value):  # 1e999 is read as infinity
        raise UnexpectedError(place, "is too large")
    if isinstance(value, int) and abs(value) >= INTEGER_LIMIT:
        raise UnexpectedError(place, "is too large")
    if isinstance(value, str) and not _is_unicode(value):
        raise UnexpectedError(place, "is text with a broken character (half of a surrogate pair)")
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        # infinity, as 1e999 is read: the caller refuses both as too large
        return math.inf


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode_object(value: object, inner: Shape, place: str) -> dict[str, Any]:
    # keys come from ids and file names, and can hold broken characters as every text can
    decoded = {}
    for key, item in _object(value, place).items():
        path = f"{place}[{key!r:.80}]"
        decoded[str(_decode_scalar(key, str, path))] = _decode(item, inner, path)
    return decoded


def _decode_record(value: object, shape: Record, place: str) -> Any:
    content = _object(value, place)
    _check_keys(content, shape.fields, place)
    return shape.type(
        **{name: _decode(content[name], inner, f"{place}.{name}") for name, inner in shape.fields.items()}
    )


def _decode_table(value: object, shape: ColumnTable, place: str) -> pd.DataFrame:
    content = _object(value, place)
    # before the values: a missing column is the more helpful message
    _check_keys(content, shape.columns, place)
    columns = {
        name: [
            _decode_cell(item, cell, f"{place}.{name}[{i}]")
            for i, item in enumerate(_array(content[name], f"{place}.{name}"))
        ]
        for name, cell in shape.columns.items()
    }
    first, *others = columns
    count = len(columns[first])
    for name in others:
        if len(columns[name]) != count:
            raise UnexpectedError(f"{place}.{name}", f"has {len(columns[name])} values for {count} {first}s")
    return as_sample_table(columns)


def _decode_any(value: object, place: str) -> object:
    if isinstance(value, list):
        # a scan has tuples in its settings: what is read must be equal to it
        return tuple(_decode_any(item, f"{place}[{i}]") for i, item in enumerate(value))
    if isinstance(value, dict):
        return _decode_object(value, AnyValue(), place)
    if isinstance(value, str | bool | int | float):
        return _decode_scalar(value, type(value), place)
    return value


def _check_keys(content: Mapping[str, Any], expected: Iterable[str], place: str) -> None:
    for name in expected:
        if name not in content:
            raise UnexpectedError(place, f"has no {name!r}")
    # an unknown key is refused rather than dropped: the file is not what its version says
    # sorted, because the order of a set of texts differs from run to run
    for name in sorted(content.keys() - set(expected)):
        raise UnexpectedError(place, f"has {name!r:.80}, which no audit has there")


def _array(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(value, list, place)
    return value


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type(value, dict, place)
    return value


def _wrong_type(value: object, expected: type, place: str) -> UnexpectedError:
    return UnexpectedError(
        place, f"is {JSON_TYPE_NAMES[type(value)]}, where {JSON_TYPE_NAMES[expected]} belongs"
    )
