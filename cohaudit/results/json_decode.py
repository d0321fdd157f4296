"""What JSON holds as the dataclasses of `results`, strictly: their types decide what is accepted.

Arrays come back as tuples, a missing number of the table of samples as NaN: what was written is what is read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pandas as pd

from cohaudit.results.audit import SAMPLE_COLUMNS
from cohaudit.results.gap import Skipped

_COLUMN_TYPES: Mapping[str, type] = {
    **dict.fromkeys(SAMPLE_COLUMNS, float),
    **dict.fromkeys(
        ("id", "label", "predicted", "suggested", "kind", "duplicate_of", "supporters", "opponents"), str
    ),
    "suspect": bool,
    "support_count": int,
}
_DTYPES = {str: "str", float: "float64", int: "int64", bool: "bool"}
_WORDS: Mapping[Any, str] = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


class UnexpectedError(Exception):
    """Something that an audit does not have in this place.

    Args:
        place: JSON path, from '$'.
        found: What was found there.
    """

    def __init__(self, place: str, found: str) -> None:
        super().__init__(place, found)
        self.place = place
        self.found = found


def decode(value: Any, kind: Any, place: str) -> Any:
    """Turn what `json.loads` gave into a value of a type.

    Args:
        value: The content.
        kind: A dataclass of `results`, or any type that one of its fields has.
        place: JSON path of the value.

    Returns:
        A value of that type; content of another shape raises an `UnexpectedError`.
    """
    origin = get_origin(kind)
    args = get_args(kind)
    if origin in {types.UnionType, Union}:
        return _decode_union(value, args, place)
    if origin is tuple:
        return tuple(decode(v, args[0], f"{place}[{i}]") for i, v in enumerate(_typed(value, list, place)))
    if origin is Mapping:
        return _decode_mapping(_typed(value, dict, place), args[1], place)
    if origin is Literal:
        return _decode_choice(value, args, place)
    if kind is pd.DataFrame:
        return _decode_table(_typed(value, dict, place), place)
    if dataclasses.is_dataclass(kind):
        return _decode_record(_typed(value, dict, place), kind, place)
    if kind is object:
        return _decode_setting(value, place)
    return _decode_scalar(value, kind, place)


def _decode_union(value: Any, kinds: tuple[Any, ...], place: str) -> Any:
    """A measurement, or `{"skipped": …}` in its place."""
    if isinstance(value, dict) and value.keys() == {"skipped"}:
        return decode(value["skipped"], Skipped, f"{place}.skipped")
    (measured,) = (kind for kind in kinds if kind is not Skipped)
    return decode(value, measured, place)


def _decode_mapping(value: dict[str, Any], kind: Any, place: str) -> dict[str, Any]:
    inner = {key: f"{place}[{key!r:.80}]" for key in value}
    return {_decode_scalar(k, str, inner[k]): decode(v, kind, inner[k]) for k, v in value.items()}


def _decode_record(value: dict[str, Any], kind: Any, place: str) -> Any:
    hints = _hints(kind)
    _check_keys(value, hints, place)
    return kind(**{name: decode(value[name], hint, f"{place}.{name}") for name, hint in hints.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _check_keys(value: Mapping[str, Any], expected: Iterable[str], place: str) -> None:
    for name in expected:
        if name not in value:
            raise UnexpectedError(place, f"has no {name!r}")
    for name in sorted(value.keys() - set(expected)):
        raise UnexpectedError(place, f"has {name!r:.80}, which no audit has there")


def _decode_choice(value: Any, choices: tuple[str, ...], place: str) -> str:
    if value not in choices:
        raise UnexpectedError(place, f"is {value!r:.80}, not one of {', '.join(choices)}")
    return str(value)


def _decode_scalar(value: Any, kind: type, place: str) -> Any:
    if kind is float:
        return _decode_float(value, place)
    scalar = _typed(value, kind, place)
    if kind is int and abs(scalar) >= 2**63:
        raise UnexpectedError(place, "is too large")
    if kind is str and not _is_unicode(scalar):
        raise UnexpectedError(place, "is text with a broken character (half of a surrogate pair)")
    return scalar


def _decode_float(value: Any, place: str) -> float:
    try:
        number = float(value) if type(value) is int else float(_typed(value, float, place))
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnexpectedError(place, "is too large")
    return number


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode_setting(value: Any, place: str) -> object:
    if isinstance(value, list):
        return tuple(_decode_setting(v, f"{place}[{i}]") for i, v in enumerate(value))
    if isinstance(value, dict):
        return _decode_mapping(value, object, place)
    return value if value is None else _decode_scalar(value, type(value), place)


def _decode_table(value: dict[str, Any], place: str) -> pd.DataFrame:
    _check_keys(value, SAMPLE_COLUMNS, place)
    columns = {name: _decode_column(value[name], name, f"{place}.{name}") for name in SAMPLE_COLUMNS}
    lengths = {name: len(column) for name, column in columns.items()}
    for name, length in lengths.items():
        if length != lengths["id"]:
            raise UnexpectedError(f"{place}.{name}", f"has {length} values for {lengths['id']} ids")
    return pd.DataFrame(columns)


def _decode_column(value: Any, name: str, place: str) -> pd.Series[Any]:
    kind = _COLUMN_TYPES[name]
    values = [
        math.nan if v is None and kind is float else _decode_scalar(v, kind, f"{place}[{i}]")
        for i, v in enumerate(_typed(value, list, place))
    ]
    return pd.Series(values, dtype=_DTYPES[kind])


def _typed(value: Any, kind: type, place: str) -> Any:
    if type(value) is not kind:
        raise UnexpectedError(place, f"is {_WORDS[type(value)]}, where {_WORDS[kind]} belongs")
    return value
