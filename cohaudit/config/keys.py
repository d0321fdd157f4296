"""What a configuration key may hold: its type, its range, and how a wrong value is put to the user."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from cohaudit.errors import ConfigError

Texts = tuple[str, ...]
Thresholds = tuple[float, float, float]
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Interval:
    """The numbers that a key accepts."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    """Whether `low` and `high` themselves are left out."""

    def __contains__(self, value: float) -> bool:
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
    """The field's name; with dashes, the option's."""
    section: str
    """Heading under which --help and `cohaudit init` list it."""
    type: Any
    """The field's type: one of those in `TYPES`."""
    default: Any
    help: str
    """What it sets, in a line or two."""
    interval: Interval | None
    """Where its number, or each of its numbers, must lie; None for keys without numbers."""
    path: bool
    """Whether it can name a file or folder."""

    @property
    def expected(self) -> str:
        """What it accepts, in words."""
        return TYPES[self.type][0] + (f" {self.interval}" if self.interval else "")

    def checked(self, value: Any, where: str) -> Any:
        """Return `value` as the field's own type.

        Args:
            value: As found in a file, on the command line or in a Python call.
            where: The key or option as the user knows it.

        Raises:
            ConfigError: When the value has another type or lies out of range.
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
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
        kind = TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        default = f" (default: {toml_value(self.default)})" if self.default else ""
        return f"found {shown}, {kind}", f"give {self.expected}{default}"


def toml_value(value: Any) -> str:
    """Write a default or a found value as TOML: a text, number, flag, a list of them, or an empty table."""
    # JSON is TOML for these, but for the delete character, which only TOML wants escaped
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text(value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    raise TypeError


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    return float(value)


def _texts(value: Any) -> Texts:
    if isinstance(value, list | tuple):
        return tuple(_text(item) for item in value)
    raise TypeError


def _thresholds(value: Any) -> Thresholds:
    if not isinstance(value, list | tuple):
        raise TypeError
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
    bool: ("true or false", _flag),
    int: ("a whole number", _whole),
    float: ("a number", _number),
    Texts: ('a list of texts, like ["a", "b"]', _texts),
    Thresholds: ("three rising numbers, each", _thresholds),
    Table: ("a table, like { width = 64 }", _table),
}
"""Type of a field → what it accepts in words, and the conversion, which raises TypeError or ValueError."""

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
"""How the types that a file can hold are called in messages."""
