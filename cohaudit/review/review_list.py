"""Which samples a person has confirmed to be wrong: a list of ids, or a table that says what is right."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cohaudit.errors import ReportError, did_you_mean
from cohaudit.results import Audit

ID = "id"
LABEL = "label"
NEW_LABEL = "new_label"
"""Columns of a table of fixes, as the report's page writes it; the second may be left out."""


@dataclass(frozen=True)
class Confirmed:
    """What a person said of one sample."""

    where: str
    """File and line, for messages."""
    new_label: str
    """The right label; empty where only the id is given."""


def read_confirmed(path: Path, audit: Audit) -> dict[str, Confirmed]:
    """Read a list of ids, one a line, or a .csv file with the columns id and new_label.

    Args:
        path: The file; a table if its name ends in .csv.
        audit: Whose samples they are.

    Returns:
        Sample id → what was said of it. Ids of a list are those of suspects, ids of a table of any samples.

    Raises:
        ReportError: If the file cannot be read, or names what the audit does not have.
    """
    text = _read(path)
    found = _fixes(path, text, audit) if path.suffix.lower() == ".csv" else _listed(path, text, audit)
    if not found:
        raise ReportError(f"--only {path}", "names no sample", "name those that are wrong, or leave it out")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
        remedy = "name a text file with one id a line, or a .csv"
        raise ReportError(f"--only {path}", found, remedy) from None
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 (byte {error.start})"
        raise ReportError(f"--only {path}", found, "save it as UTF-8") from None


def _listed(path: Path, text: str, audit: Audit) -> dict[str, Confirmed]:
    # not splitlines: an id may hold what only Unicode takes for the end of a line
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    known = set(audit.samples["id"])
    suspects = dict.fromkeys(audit.samples["id"][audit.samples["suspect"]])
    found = {}
    for number, name in enumerate(lines, 1):
        if not name.strip():
            continue
        where = f"--only {path}, line {number}"
        if name not in known or name not in suspects:
            told = "a sample, but no suspect" if name in known else "no sample of the audit"
            remedy = did_you_mean(name, suspects) if suspects else "the audit has no suspects"
            raise ReportError(where, f"{name!r:.80} is {told}", remedy)
        found[name] = Confirmed(where, "")
    return found


def _fixes(path: Path, text: str, audit: Audit) -> dict[str, Confirmed]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    labels = dict(zip(audit.samples["id"], audit.samples["label"], strict=True))
    classes = [one.name for one in audit.classes]
    found: dict[str, Confirmed] = {}
    try:
        columns = reader.fieldnames or ()
        for column in (ID, NEW_LABEL):
            if list(columns).count(column) != 1:
                found_there = f"has {'two columns' if column in columns else 'no column'} {column!r}"
                remedy = f"name its columns in the first line, each once: {ID},{LABEL},{NEW_LABEL}"
                raise ReportError(f"--only {path}", found_there, remedy)
        for row in reader:
            where = f"--only {path}, line {reader.line_num}"
            if None in row or None in row.values():
                told = f"has another number of cells than the {len(columns)} columns"
                raise ReportError(where, told, "put a text with a comma into quotes")
            found[row[ID]] = _fix(where, row, labels, classes, found)
    except csv.Error as error:
        where = f"--only {path}, line {reader.line_num}"
        raise ReportError(where, f"is no CSV: {error}", "download it again") from None
    return found


def _fix(
    where: str,
    row: Mapping[str, str | None],
    labels: Mapping[str, str],
    classes: list[str],
    earlier: Mapping[str, Confirmed],
) -> Confirmed:
    name = row[ID] or ""
    label = row[NEW_LABEL] or ""
    if name not in labels:
        raise ReportError(where, f"{name!r:.80} is no sample of the audit", did_you_mean(name, labels))
    if name in earlier:
        raise ReportError(where, f"{name!r:.80} stands there twice", "take one of the two lines out")
    if row.get(LABEL) not in {None, "", labels[name]}:
        found = f"{name!r:.80} is labeled {labels[name]!r:.80} in the audit, not {row[LABEL]!r:.80}"
        raise ReportError(where, found, "name the audit that the list was made from")
    if label and label not in classes:
        raise ReportError(where, f"{label!r:.80} is no class of the audit", did_you_mean(label, classes))
    return Confirmed(where, label)
