"""The JSON Schema of audit.json, generated from the dataclasses and from the text under each of their fields.

`python -m cohaudit.results.schema` prints it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, assert_never

from cohaudit.results.audit import SCHEMA_VERSION, Audit
from cohaudit.results.estimate import Skipped
from cohaudit.results.shape import (
    AnyValue,
    ArrayOf,
    Choice,
    ColumnTable,
    Nullable,
    ObjectOf,
    Record,
    Scalar,
    Shape,
    Skippable,
)

JSON_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
"""Python type → its name in JSON Schema."""

NOT_MEASURED = "NotMeasured"
"""Definition of what stands in place of a measurement that was skipped."""


def audit_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of audit.json, as `json.dumps` takes it."""
    definitions: dict[str, Any] = {NOT_MEASURED: _not_measured()}
    for shape in _definitions(Record(Skipped), Record(Audit)):
        definitions[_name(shape)] = _closed_object(shape)
    # the audit is the schema itself: nothing refers to it by name
    audit = definitions.pop(Audit.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:cohaudit:audit:{SCHEMA_VERSION}",
        "title": "cohaudit audit.json",
        **audit,
        # sorted, so that a new definition is one change in a comparison of two versions
        "$defs": dict(sorted(definitions.items())),
    }


@functools.cache
def field_docs(kind: type) -> Mapping[str, str]:
    """Return field name → the text under the field in the source, on one line.

    Python keeps no docstrings of fields, so that the source is parsed.

    Args:
        kind: A class with annotated fields.
    """
    tree = ast.parse(inspect.cleandoc(inspect.getsource(kind)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: " ".join(text.value.value.split())
        # the text of a field is the statement that follows it
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


def _definitions(*shapes: Shape) -> Iterator[Record | ColumnTable]:
    """Yield every record and table that the shapes contain, each once."""
    waiting = list(shapes)
    seen = set[Shape]()
    while waiting:
        shape = waiting.pop()
        if shape in seen:  # many records have an Estimate
            continue
        seen.add(shape)
        match shape:
            case Record():
                yield shape
                waiting += shape.fields.values()
            case ColumnTable():
                yield shape
            case Skippable(inner) | ArrayOf(inner) | ObjectOf(inner):
                waiting.append(inner)


def _closed_object(shape: Record | ColumnTable) -> dict[str, Any]:
    """Describe an object that has all fields and no other."""
    if isinstance(shape, ColumnTable):
        kind = shape.row
        fields = {name: _array(cell) for name, cell in shape.columns.items()}
    else:
        kind = shape.type
        fields = {name: _schema(inner) for name, inner in shape.fields.items()}
    docs = field_docs(kind)
    return {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "properties": {name: {"description": docs.get(name, ""), **field} for name, field in fields.items()},
        # all of them: what was not measured is written too, as skipped
        "required": list(fields),
        "additionalProperties": False,
    }


def _schema(shape: Shape) -> dict[str, Any]:
    match shape:
        case Scalar():
            return {"type": JSON_TYPES[shape.type], **_limits(shape)}
        case Nullable(scalar):
            return {"type": [JSON_TYPES[scalar.type], "null"], **_limits(scalar)}
        case Choice(values):
            return {"enum": list(values)}
        case Skippable(measured):
            # oneOf, because the two exclude each other: no measurement has the key 'skipped'
            return {"oneOf": [_schema(measured), _reference(NOT_MEASURED)]}
        case ArrayOf(item):
            return _array(item)
        case ObjectOf(AnyValue()):
            return {"type": "object", "additionalProperties": True}
        case ObjectOf(value):
            return {"type": "object", "additionalProperties": _schema(value)}
        case Record() | ColumnTable():
            return _reference(_name(shape))
        case AnyValue():
            return {}
    assert_never(shape)


def _array(item: Shape) -> dict[str, Any]:
    return {"type": "array", "items": _schema(item)}


def _limits(scalar: Scalar) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if scalar.range:
        limits["minimum"] = scalar.range.low
        if scalar.range.high is not None:
            limits["maximum"] = scalar.range.high
    if scalar.pattern:
        limits["pattern"] = scalar.pattern.regex
    return limits


def _not_measured() -> dict[str, Any]:
    return {
        "description": "In place of a measurement that was not made: what, and why.",
        "type": "object",
        # a description beside $ref counts since draft 2019-09
        "properties": {"skipped": {"description": "What was skipped.", **_reference(Skipped.__name__)}},
        "required": ["skipped"],
        "additionalProperties": False,
    }


def _name(shape: Record | ColumnTable) -> str:
    return shape.row.__name__ if isinstance(shape, ColumnTable) else shape.type.__name__


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


if __name__ == "__main__":
    json.dump(audit_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
