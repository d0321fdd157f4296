"""Reads audit.json: a file that may be missing, cut short, edited by hand, or written by another version."""

from __future__ import annotations

import json
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from cohaudit._version import __version__
from cohaudit.errors import ReportError
from cohaudit.results.audit import IN_MEMORY, SCHEMA_VERSION, Audit
from cohaudit.results.estimate import Skipped
from cohaudit.results.evidence import IMAGE_PREFIXES, Evidence, Preview
from cohaudit.results.json_decode import UnexpectedError, decode_as
from cohaudit.untrusted import read_text

AuditSource: TypeAlias = Audit | str | PathLike[str]
"""An audit, or the path of an audit.json."""

REPORT_PAGE = "report.html"
"""Name of the report's page, beside the audit.json."""
NAME_AN_AUDIT = "name the audit.json that cohaudit scan wrote"
"""Remedy for a path that does not lead to an audit."""
MAX_AUDIT_BYTES = 1_000_000_000
"""Most bytes of an audit: a thousand for each of a million samples."""
SCAN_AGAIN = "restore the file as cohaudit wrote it, or run cohaudit scan again"
"""Remedy for a damaged audit."""


def read_audit(path: str | PathLike[str]) -> Audit:
    """Read an audit.json.

    Args:
        path: The file.

    Returns:
        The audit, equal to the one that was written.

    Raises:
        ReportError: The file is missing, cut short, not JSON, of another schema version, or not a complete
            audit.
    """
    path = Path(path)
    content = _parse(path, _read(path))
    # first: a file of another version has other fields, and they would be reported as damage
    _check_version(path, content)
    try:
        audit = decode_as(Audit, content)
        _check_references(audit)
        audit = _with_safe_index(audit)
    except UnexpectedError as error:
        raise ReportError(f"{path}, at {error.place}", error.found, SCAN_AGAIN) from None
    except RecursionError:
        # the parser of JSON goes deeper than the decoder can
        raise ReportError(str(path), "has objects nested too deeply for an audit", SCAN_AGAIN) from None
    page = path.with_name(REPORT_PAGE)
    if page.is_file():
        audit.lies_at(page)
    return audit


def as_audit(source: AuditSource) -> Audit:
    """Return an audit as it is, or read it.

    Args:
        source: An audit, or the path of an audit.json.

    Raises:
        ReportError: The file cannot be read, or `source` is neither.
    """
    if isinstance(source, Audit):
        return source
    try:
        path = fspath(source)
    except TypeError:
        found = f"found {source!r:.80}, a {type(source).__name__}"
        raise ReportError("audit", found, "give an Audit, or the path of an audit.json") from None
    return read_audit(path)


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            inside = f"name the file in it: {path / 'audit.json'}"
            raise ReportError(str(path), "is a folder, not a file", inside)
        return read_text(path, ReportError, MAX_AUDIT_BYTES)
    except FileNotFoundError:
        raise ReportError(str(path), "no such file", NAME_AN_AUDIT) from None
    except UnicodeDecodeError:
        raise ReportError(str(path), "is not text", NAME_AN_AUDIT) from None
    except OSError as error:
        remedy = "check the file and its permissions"
        raise ReportError(str(path), f"cannot be read: {error.strerror}", remedy) from None


def _parse(path: Path, text: str) -> Any:
    try:
        # parse_constant: Python reads NaN and Infinity, which are not JSON
        return json.loads(text, parse_constant=_refuse_constant)
    except UnexpectedError as error:
        raise ReportError(str(path), error.found, SCAN_AGAIN) from None
    except json.JSONDecodeError as error:
        found = f"is not JSON, or was cut short: {error.msg} at line {error.lineno}, column {error.colno}"
        raise ReportError(str(path), found, f"{NAME_AN_AUDIT}, or scan again") from None
    except (ValueError, RecursionError):
        # Python reads no number of more than 4,300 digits, and nothing nested deeper than its stack
        found = "holds a number too long, or arrays too deep, for an audit"
        raise ReportError(str(path), found, f"{NAME_AN_AUDIT}, or scan again") from None


def _refuse_constant(name: str) -> NoReturn:
    raise UnexpectedError("$", f"holds {name}, which is not a JSON number")


def _check_version(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ReportError(str(path), "is not an audit: it has no schema_version", NAME_AN_AUDIT)
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        found = f"has schema version {version!r:.40}; this cohaudit reads {SCHEMA_VERSION!r}"
        # not checked yet: in a file of another version, the field can hold anything
        writer = content.get("version")
        named = f", {writer:.40}" if isinstance(writer, str) and writer else ""
        remedy = "run cohaudit scan again"
        # between releases two schemas share a version: the one that runs cannot be the remedy
        if writer != __version__:
            remedy += f", or use the version of cohaudit that wrote the file{named}"
        raise ReportError(str(path), found, remedy)


def _with_safe_index(audit: Audit) -> Audit:
    """Index the table of samples by ids, unless its rows are those of a data file.

    The index of a DataFrame in memory is not in the file, nor are the positions of a part of the data: with
    row numbers as the index, `frame.loc` would find other samples without a word.
    """
    subject = audit.subject
    if subject.samples == subject.samples_total and subject.data != IN_MEMORY:
        return audit
    return replace(audit, samples=audit.samples.set_axis(audit.samples["id"].rename(None), axis="index"))


def _check_references(audit: Audit) -> None:
    """Raise an error unless every name in the audit is in the part where the report looks it up."""
    # what no type says: unchecked, a wrong reference would end in a traceback while the page is rendered
    if not isinstance(audit.class_cosines, Skipped):
        classes = len(audit.classes)
        for part in ("matrix", "sampling"):
            if [len(row) for row in getattr(audit.class_cosines, part)] != [classes] * classes:
                found = f"is not {classes} × {classes}, the number of classes"
                raise UnexpectedError(f"$.class_cosines.{part}", found)
    ids = set(audit.samples["id"])
    # pages, lists and suppressions find a sample by its id
    repeated = audit.samples["id"].duplicated()
    if repeated.any():
        name = audit.samples["id"][repeated].iloc[0]
        raise UnexpectedError("$.samples.id", f"has {name!r:.80} twice")
    for i, twin in enumerate(audit.samples["duplicate_of"]):
        if twin and twin not in ids:
            raise _unknown_sample(f"$.samples.duplicate_of[{i}]", twin)
    for i, evidence in enumerate(audit.evidence):
        if evidence.id not in ids:
            raise _unknown_sample(f"$.evidence[{i}].id", evidence.id)
        _check_previews(evidence, audit, f"$.evidence[{i}]")
    for i, name in enumerate(audit.questions):
        if name not in ids:
            raise _unknown_sample(f"$.questions[{i}]", name)
    for sample_id, preview in audit.previews.items():
        _check_image(preview, f"$.previews[{sample_id!r:.80}]")


def _check_previews(evidence: Evidence, audit: Audit, place: str) -> None:
    # the page shows every neighbor beside its sample
    for name in (evidence.id, *(one.id for one in (*evidence.supporters, *evidence.opponents))):
        if name not in audit.previews:
            raise UnexpectedError(place, f"names {name!r:.80}, which has no preview")


def _check_image(preview: Preview, place: str) -> None:
    # the report puts the image into a page, which must not load anything from elsewhere
    if preview.image and not preview.image.startswith(IMAGE_PREFIXES):
        raise UnexpectedError(f"{place}.image", "is not the data URI of a PNG or JPEG")


def _unknown_sample(place: str, name: str) -> UnexpectedError:
    return UnexpectedError(place, f"names {name!r:.80}, which is not among the samples")
