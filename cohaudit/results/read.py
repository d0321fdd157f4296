"""Reads audit.json: a file that may be missing, cut short, edited by hand, or written by another version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from cohaudit.errors import ReportError
from cohaudit.results.audit import SCHEMA_VERSION, Audit, Preview
from cohaudit.results.gap import Skipped
from cohaudit.results.json_decode import UnexpectedError, decode

_PNG = "data:image/png;base64,"


def read_audit(path: str | Path) -> Audit:
    """Read an audit.json.

    Args:
        path: The file.

    Returns:
        The audit, equal in every field to the one that was written.

    Raises:
        ReportError: The file is missing, cut short, no JSON, of another schema version, or no whole audit.
    """
    path = Path(path)
    content = _parse(path, _read(path))
    try:
        _check_version(path, content)
        audit: Audit = decode(content, Audit, "$")
        _check_whole(audit)
    except UnexpectedError as error:
        remedy = "restore the file as cohaudit wrote it, or run cohaudit scan again"
        raise ReportError(f"{path}, at {error.place}", error.found, remedy) from None
    return audit


def _read(path: Path) -> str:
    if path.is_dir():
        raise ReportError(str(path), "is a folder, not a file", f"name the file in it: {path / 'audit.json'}")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(str(path), "no such file", "name the audit.json that cohaudit scan wrote") from None
    except UnicodeDecodeError:
        raise ReportError(str(path), "is not text", "name the audit.json that cohaudit scan wrote") from None
    except OSError as error:
        raise ReportError(
            str(path), f"cannot be read: {error.strerror}", "check the file and its permissions"
        ) from None


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except UnexpectedError as error:
        raise ReportError(str(path), error.found, "run cohaudit scan again") from None
    except json.JSONDecodeError as error:
        found = f"is no JSON, or was cut short: {error.msg} at line {error.lineno}, column {error.colno}"
        raise ReportError(
            str(path), found, "name the audit.json that cohaudit scan wrote, or scan again"
        ) from None
    except (ValueError, RecursionError):
        found = "holds a number too long, or arrays too deep, for an audit"
        raise ReportError(
            str(path), found, "name the audit.json that cohaudit scan wrote, or scan again"
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise UnexpectedError("$", f"holds {name}, which is no JSON number")


def _check_version(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ReportError(
            str(path), "is no audit: it has no schema_version", "name the audit.json that cohaudit scan wrote"
        )
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        found = f"has schema version {version!r}; this cohaudit reads {SCHEMA_VERSION!r}"
        writer = content.get("version")
        remedy = "scan again with this cohaudit, or use the cohaudit that wrote it" + (
            f" ({writer})" if writer else ""
        )
        raise ReportError(str(path), found, remedy)


def _check_whole(audit: Audit) -> None:
    # The report looks up one part of an audit by the names in another.
    if not isinstance(audit.class_cosines, Skipped):
        classes = len(audit.classes)
        if [len(row) for row in audit.class_cosines.matrix] != [classes] * classes:
            raise UnexpectedError(
                "$.class_cosines.matrix", f"is not {classes} × {classes}, the number of classes"
            )
    ids = set(audit.samples["id"])
    again = audit.samples["id"].duplicated()
    if again.any():
        name = audit.samples["id"][again].iloc[0]
        raise UnexpectedError("$.samples.id", f"has {name!r:.80} twice")
    for i, twin in enumerate(audit.samples["duplicate_of"]):
        if twin and twin not in ids:
            raise UnexpectedError(
                f"$.samples.duplicate_of[{i}]", f"names {twin!r:.80}, which is not among the samples"
            )
    for i, evidence in enumerate(audit.evidence):
        if evidence.id not in ids:
            raise UnexpectedError(
                f"$.evidence[{i}].id", f"names {evidence.id!r:.80}, which is not among the samples"
            )
        for named in (evidence.id, *(n.id for n in (*evidence.supporters, *evidence.opponents))):
            if named not in audit.previews:
                raise UnexpectedError(f"$.evidence[{i}]", f"names {named!r:.80}, which has no preview")
    for sample_id, preview in audit.previews.items():
        _check_image(preview, f"$.previews[{sample_id!r:.80}]")


def _check_image(preview: Preview, place: str) -> None:
    if preview.image and not preview.image.startswith(_PNG):
        raise UnexpectedError(f"{place}.image", "is not the data URI of a PNG")
