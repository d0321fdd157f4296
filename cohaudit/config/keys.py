"""A configuration key: its type, its range, what it changes, and how a wrong value is reported."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum, auto
from numbers import Integral, Real
from typing import Any

from cohaudit.errors import ConfigError

LONGEST_VALUE = 80
"""Characters of a wrong value that an error message shows."""
Texts = tuple[str, ...]
"""Type of a key that takes a list of texts."""
Thresholds = tuple[float, float, float]
"""Type of a key that takes three rising numbers."""
Function = str | Callable[[Any], Any]
"""Type of a key that names a function; from Python, the function itself can be given."""
Table = Mapping[str, Any]
"""Type of a key that takes a table of values by name."""


class Effect(Enum):
    """What a setting changes: it decides where the setting is recorded and which caches depend on it."""

    NOTHING = auto()
    """No number: paths, speed, what is shown. What a path leads to is hashed by content instead."""
    FINDINGS = auto()
    """Numbers that are computed from the measurement. Recorded in audit.json."""
    SUMS = auto()
    """Sums over a pass, by rounding, or how the classes' sums are kept. Recorded; an interrupted pass that
    is resumed must have the same value, while a finished one may be used with any."""
    GRADIENTS = auto()
    """What a pass over the data measures. Recorded; everything stored of a pass depends on it."""


@dataclass(frozen=True)
class Interval:
    """The numbers that a key accepts."""

    low: float = -math.inf
    """Smallest number."""
    high: float = math.inf
    """Largest number."""
    open: bool = False
    """Whether `low` and `high` themselves are excluded."""

    def __contains__(self, value: float) -> bool:
        # NaN is in no interval: every comparison with it is false
        if self.open:
            return self.low < value < self.high
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"
        return f"{'strictly ' if self.open else ''}between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Key:
    """A key of the configuration, as declared by a field of `cohaudit.config.Config`."""

    name: str
    """Name of the field; with dashes, name of the option."""
    section: str
    """Heading under which --help and `cohaudit init` list it."""
    type: Any
    """Type of the field: one of those in `TYPES`."""
    default: Any
    """Value if the user sets none."""
    help: str
    """What it sets, in a line or two."""
    interval: Interval | None
    """Range of its number, or of each of its numbers; None for keys without numbers."""
    affects: Effect
    """What the key changes."""
    path: bool
    """Whether it can name a file or folder."""

    @property
    def expected(self) -> str:
        """The accepted values, in words."""
        return TYPES[self.type][0] + (f" {self.interval}" if self.interval else "")

    def checked(self, value: Any, where: str) -> Any:
        """Return `value` converted to the type of the field.

        Args:
            value: Value from a file, the command line or a Python call.
            where: Key or option as the user knows it.

        Raises:
            ConfigError: If the value has another type or is out of range.
        """
        try:
            converted = TYPES[self.type][1](value)
        except (TypeError, ValueError):
            raise ConfigError(where, *self._refusal(value)) from None
        numbers = converted if isinstance(converted, tuple) else (converted,)
        if self.interval and not all(number in self.interval for number in numbers):
            raise ConfigError(where, *self._refusal(value))
        return converted

    def _refusal(self, value: Any) -> tuple[str, str]:
        shown = repr(value)
        if len(shown) > LONGEST_VALUE:
            shown = f"{shown[: LONGEST_VALUE - 1]}…"
        kind = TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        default = f" (default: {toml_value(self.default)})" if self.default else ""
        return f"found {shown}, {kind}", f"give {self.expected}{default}"


def toml_value(value: Any) -> str:
    """Return a value as TOML: a text, a number, a flag, a time, a list of these, or an empty table."""
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # JSON of these is TOML too, except that TOML requires the delete character to be escaped
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text(value: Any) -> str:
    # a Python caller may give a Path
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    raise TypeError


def _function(value: Any) -> Function:
    return value if callable(value) else _text(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):  # Python counts True as an integer
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    # Real, as Integral above, includes the numbers of numpy
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        # an integer of hundreds of digits: out of any range, and refused as such
        raise ValueError from None


def _texts(value: Any) -> Texts:
    # one text is a list of one: audits="all"
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list | tuple):
        return tuple(_text(item) for item in value)
    raise TypeError


def _thresholds(value: Any) -> Thresholds:
    if not isinstance(value, list | tuple):
        raise TypeError
    # unpacking raises ValueError for more or fewer than three
    low, middle, high = (_number(item) for item in value)
    if not low < middle < high:
        raise ValueError
    return low, middle, high


def _table(value: Any) -> Table:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return dict(value)
    raise TypeError


TYPES: Mapping[Any, tuple[str, Callable[[Any], Any]]] = {
    str: ("a text in quotes", _text),
    Function: ("a text in quotes", _function),
    bool: ("true or false", _flag),
    int: ("a whole number", _whole),
    float: ("a number", _number),
    Texts: ('a list of texts, like ["a", "b"]', _texts),
    Thresholds: ("three rising numbers, each", _thresholds),
    Table: ("a table, like { width = 64 }", _table),
}
"""Type of a field → the accepted values in words, and a conversion that raises TypeError or ValueError."""
TYPE_NAMES: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "a table",
    type(None): "nothing",
}
"""Type of a value → its name in messages."""
