"""What a type of the results looks like in JSON: the one place that reads annotations.

`shape_of` turns an annotation into one of the frozen dataclasses below. The decoder and the JSON Schema both
match on them, so that neither accepts what the other refuses for its type.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import pandas as pd

from cohaudit.results.estimate import Skipped
from cohaudit.results.ranges import Pattern, Range

ScalarType: TypeAlias = type[str] | type[bool] | type[int] | type[float]
SCALAR_TYPES: tuple[ScalarType, ...] = (str, bool, int, float)


@dataclass(frozen=True)
class TableOf:
    """Marks a DataFrame in an annotation: the dataclass that has a field for each of its columns."""

    row: type


@dataclass(frozen=True)
class Scalar:
    """A text, a number, or a flag."""

    type: ScalarType
    range: Range | None = None
    pattern: Pattern | None = None

    @property
    def scalar_type(self) -> ScalarType:
        """Python type of the value."""
        return self.type


@dataclass(frozen=True)
class Choice:
    """One of a few texts."""

    values: tuple[str, ...]

    @property
    def scalar_type(self) -> ScalarType:
        """Python type of the value."""
        return str


@dataclass(frozen=True)
class Nullable:
    """A scalar, or null in its place."""

    scalar: Scalar

    @property
    def scalar_type(self) -> ScalarType:
        """Python type of the value where there is one."""
        return self.scalar.type


@dataclass(frozen=True)
class Skippable:
    """A measurement, or an object with the single key 'skipped' in its place."""

    measured: Shape


@dataclass(frozen=True)
class ArrayOf:
    """An array; a tuple in Python."""

    item: Shape


@dataclass(frozen=True)
class ObjectOf:
    """An object with any keys; a mapping in Python."""

    value: Shape


@dataclass(frozen=True)
class Record:
    """An object with the fields of a dataclass."""

    type: type

    @property
    def fields(self) -> Mapping[str, Shape]:
        """Field name → its shape, in order."""
        return _fields(self.type)


@dataclass(frozen=True)
class ColumnTable:
    """An object with an array per column, all of one length; a DataFrame in Python."""

    row: type

    @property
    def columns(self) -> Mapping[str, Cell]:
        """Column name → the shape of its values, in order."""
        return columns_of(self.row)


@dataclass(frozen=True)
class AnyValue:
    """Anything that JSON can hold, such as the value of a setting."""


Cell: TypeAlias = Scalar | Choice | Nullable
Shape: TypeAlias = Cell | Skippable | ArrayOf | ObjectOf | Record | ColumnTable | AnyValue


def shape_of(annotation: Any) -> Shape:
    """Return the shape of a type.

    Args:
        annotation: A dataclass of the results, or the type of one of their fields.

    Raises:
        TypeError: The type is not one that an audit can have.
    """
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        base, mark = arguments
        return _annotated(base, mark)
    # Union[X, Y] and X | Y have different origins
    if origin in {Union, types.UnionType}:
        return _union(arguments)
    if origin is Literal:
        return Choice(arguments)
    # an array of JSON does not say its length, so that a tuple of fixed length could not be checked
    if origin is tuple and arguments[1:] == (...,):
        return ArrayOf(shape_of(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return ObjectOf(shape_of(arguments[1]))
    if annotation is object:
        return AnyValue()
    if annotation in SCALAR_TYPES:
        return Scalar(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return Record(annotation)
    raise TypeError(f"an audit cannot hold a {annotation!r}")


@functools.cache
def columns_of(row: type) -> Mapping[str, Cell]:
    """Return column name → the shape of its values, in order.

    Args:
        row: Dataclass with a field for each column.

    Raises:
        TypeError: A column holds something other than scalars.
    """
    columns: dict[str, Cell] = {}
    for name, shape in _fields(row).items():
        if not isinstance(shape, Scalar | Choice | Nullable):
            raise TypeError(f"a column cannot hold a {shape!r}")
        columns[name] = shape
    return columns


# evaluating the annotations takes longer than decoding a record, of which an audit can have tens of thousands
@functools.cache
def _fields(kind: type) -> Mapping[str, Shape]:
    # include_extras: without it, the ranges in Annotated would be dropped
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: shape_of(hints[field.name]) for field in dataclasses.fields(kind)}


def _annotated(base: Any, mark: Range | Pattern | TableOf) -> Shape:
    if isinstance(mark, TableOf) and base is pd.DataFrame:
        return ColumnTable(mark.row)
    if isinstance(mark, Range):
        return Scalar(base, range=mark)
    if isinstance(mark, Pattern):
        return Scalar(base, pattern=mark)
    raise TypeError(f"an audit cannot hold a {base!r} marked with {mark!r}")


def _union(members: tuple[Any, ...]) -> Shape:
    # JSON does not name types: of two dataclasses, only Skipped can be told from the other, by its own key
    alternatives = {Skipped, type(None)} & set(members)
    if len(members) != 2 or len(alternatives) != 1:
        raise TypeError(f"an audit cannot hold either of {members!r}")
    (shape,) = (shape_of(member) for member in members if member not in alternatives)
    if alternatives == {Skipped}:
        return Skippable(shape)
    if not isinstance(shape, Scalar):
        raise TypeError(f"an audit cannot hold null in place of a {shape!r}")
    return Nullable(shape)
