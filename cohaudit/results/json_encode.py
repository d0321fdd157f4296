"""An audit as JSON text: the same text, byte for byte, for the same audit.

A measurement that was skipped is written as `{"skipped": {"name": …, "reason": …}}`. The table of samples is
written by column, with null for a missing number. Any other NaN, and every infinity, is a bug and raises an
error.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cohaudit.results.audit import Audit
from cohaudit.results.estimate import Skipped
from cohaudit.results.sample_table import SAMPLE_COLUMNS

SORTED_FIELDS = ("settings", "previews")
"""Mappings whose order has no meaning; the stages and the columns of a row keep their order."""

LINE_BREAK_DEPTH = 2
"""Levels that are broken into lines: a line for each part of the audit, then for each layer, class, and
suspect."""


def audit_to_json(audit: Audit) -> str:
    """Return the text of audit.json.

    Args:
        audit: The result of a scan.

    Returns:
        JSON, the version of its schema first, with a newline at the end.
    """
    content = _encode(audit)
    # audits are equal whatever the order of a mapping, and equal audits must give equal text
    for name in SORTED_FIELDS:
        content[name] = dict(sorted(content[name].items()))
    # a person who opens the file sees its version at once
    version_first = {"schema_version": content.pop("schema_version"), **content}
    return _lay_out(version_first, 0) + "\n"


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _encode_field(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, pd.DataFrame):
        # each column is encoded when it is written: a million samples would be twenty million objects
        return {column: value[column] for column in SAMPLE_COLUMNS}
    if isinstance(value, Mapping):
        return {escape_stray_bytes(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return escape_stray_bytes(value) if isinstance(value, str) else value


def _encode_field(value: Any) -> Any:
    return {"skipped": _encode(value)} if isinstance(value, Skipped) else _encode(value)


def _encode_column(column: pd.Series[Any]) -> list[Any]:
    # tolist turns the numbers of numpy, which json refuses, into those of Python
    values: list[Any] = column.tolist()
    if not pd.api.types.is_numeric_dtype(column):
        return _escaped(values)
    missing = column.isna()
    if not missing.any():
        return values
    return [None if gone else value for value, gone in zip(values, missing.tolist(), strict=True)]


def _escaped(texts: list[str]) -> list[str]:
    try:
        # hardly any table has stray bytes
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [escape_stray_bytes(text) for text in texts]
    return texts


def escape_stray_bytes(text: str) -> str:
    """Escape the stray bytes of a file name that is not UTF-8, which JSON cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _lay_out(value: Any, depth: int) -> str:
    # an empty list would be two brackets around an empty line
    if depth == LINE_BREAK_DEPTH or not value or not isinstance(value, dict | list):
        return _dump(value)
    indent = "  " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{indent}{_dump(key)}: {_lay_out(item, depth + 1)}" for key, item in value.items()]
    else:
        lines = [f"{indent}{_lay_out(item, depth + 1)}" for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n" + ",\n".join(lines) + f"\n{indent[2:]}{last}"


def _dump(value: Any) -> str:
    if isinstance(value, pd.Series):
        value = _encode_column(value)
    # allow_nan would write NaN, which is not JSON, and which read_audit refuses
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
