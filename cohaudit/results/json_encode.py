"""An Audit as JSON text: the same text, byte for byte, for the same audit.

A union of a measurement and `Skipped` is written as the measurement, or as `{"skipped": {"name", "reason"}}`.
The table of samples is written by column, with null for a number that is missing. Any other NaN, and every
infinity, is a bug and raises.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cohaudit.results.audit import Audit
from cohaudit.results.estimate import Skipped
from cohaudit.results.sample_table import SAMPLE_COLUMNS

_SORTED_FIELDS = ("settings", "previews")
"""Mappings whose order means nothing; stages and the columns of a row keep theirs."""

_LINES_DEEP = 2
"""Levels that are broken into lines: one for each part of the audit, then each layer, class, suspect."""


def audit_to_json(audit: Audit) -> str:
    """Return the text of audit.json.

    Args:
        audit: The result of a scan.

    Returns:
        JSON with the version of its schema first, ending in a newline.
    """
    content = _encode(audit)
    for name in _SORTED_FIELDS:
        content[name] = dict(sorted(content[name].items()))
    version_first = {"schema_version": content.pop("schema_version"), **content}
    return _lay_out(version_first, 0) + "\n"


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _encode_field(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, pd.DataFrame):
        return {column: _encode_column(value[column]) for column in SAMPLE_COLUMNS}
    if isinstance(value, Mapping):
        return {valid(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return valid(value) if isinstance(value, str) else value


def _encode_field(value: Any) -> Any:
    return {"skipped": _encode(value)} if isinstance(value, Skipped) else _encode(value)


def _encode_column(column: pd.Series[Any]) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else _encode(v) for v in column.tolist()]


def valid(text: str) -> str:
    """Write the stray bytes of a file name that is not UTF-8 as escapes: JSON has no other place for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _lay_out(value: Any, depth: int) -> str:
    if depth == _LINES_DEEP or not value or not isinstance(value, dict | list):
        return _dump(value)
    indent = "  " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{indent}{_dump(key)}: {_lay_out(item, depth + 1)}" for key, item in value.items()]
    else:
        lines = [f"{indent}{_lay_out(item, depth + 1)}" for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n" + ",\n".join(lines) + f"\n{indent[2:]}{last}"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
