"""Reads which samples a person found to be wrong: a list of ids, a table, or what a labeling tool exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cohaudit.errors import ReportError, did_you_mean
from cohaudit.results import Audit
from cohaudit.results.spreadsheets import original_row
from cohaudit.review.labeling_answers import LabelingAnswer, read_labeling_json, read_labeling_rows
from cohaudit.review.labeling_tasks import LABEL, SAMPLE_ID
from cohaudit.untrusted import read_text

ID_COLUMN = "id"
"""Column of the sample ids in a table of fixes, which the report's page writes."""

LABEL_COLUMN = "label"
"""Column of the labels that were reviewed; may be missing."""

NEW_LABEL_COLUMN = "new_label"
"""Column of the right labels; a cell may be empty for a suspect, which then gets the suggested label."""

SUGGESTED_COLUMN = "suggested"
"""Column that stands for the right labels in the list that `cohaudit export` writes."""

LABELING_SUFFIXES = frozenset({".json", ".jsonl"})
"""Ends of the names of files that labeling tools export."""


@dataclass(frozen=True)
class ConfirmedSample:
    """A sample that a person confirmed to be wrong."""

    where: str
    """File and line, for messages."""
    new_label: str
    """The right label; empty when only the id is given."""


def read_confirmed(path: Path, audit: Audit) -> dict[str, ConfirmedSample]:
    """Read a list of ids, one per line, a .csv file with the columns id and new_label, or answers of a tool.

    Args:
        path: The file: a table when its name ends in .csv, answers when in .json or .jsonl.
        audit: The audit of the samples.

    Returns:
        Sample id → the confirmation. A list can only name suspects, the others any samples. Answers that a
        label is right are left out.

    Raises:
        ReportError: The file cannot be read, or names a sample or class that the audit does not have.
    """
    text = _read(path)
    suffix = path.suffix.lower()
    if suffix in LABELING_SUFFIXES:
        return _wrong_only(path, read_labeling_json(path, text), audit)
    confirmed = _read_table(path, text, audit) if suffix == ".csv" else _read_list(path, text, audit)
    if not confirmed:
        raise ReportError(
            f"--only {path}", "names no sample", "name the samples that are wrong, or omit --only"
        )
    return confirmed


def _read(path: Path) -> str:
    try:
        return read_text(path, ReportError)
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
        remedy = "name a text file with one id per line, or a .csv file"
        raise ReportError(f"--only {path}", found, remedy) from None
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 (byte {error.start})"
        raise ReportError(f"--only {path}", found, "save it as UTF-8") from None


def _read_list(path: Path, text: str, audit: Audit) -> dict[str, ConfirmedSample]:
    # not splitlines: an id can hold characters that Unicode, but no text file, takes for the end of a line
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    known = set(audit.samples["id"])
    # a dictionary, because it keeps the order: most suspicious first
    suspects = dict.fromkeys(audit.suspects["id"])
    confirmed = {}
    for number, name in enumerate(lines, 1):
        if not name.strip():
            continue
        where = f"--only {path}, line {number}"
        if name not in suspects:
            found = "a sample, but not a suspect" if name in known else "not a sample of the audit"
            remedy = did_you_mean(name, suspects) if suspects else "the audit has no suspects"
            raise ReportError(where, f"{name!r:.80} is {found}", remedy)
        confirmed[name] = ConfirmedSample(where, "")
    return confirmed


def _read_table(path: Path, text: str, audit: Audit) -> dict[str, ConfirmedSample]:
    # newline="" keeps line breaks within quotes; strict refuses a stray quote instead of guessing
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    labels = dict(zip(audit.samples["id"], audit.samples["label"], strict=True))
    classes = [one.name for one in audit.classes]
    confirmed: dict[str, ConfirmedSample] = {}
    try:
        columns = list(reader.fieldnames or ())
        if SAMPLE_ID in columns and LABEL in columns:  # Label Studio's table
            return _wrong_only(path, read_labeling_rows(path, reader), audit)
        right = NEW_LABEL_COLUMN if NEW_LABEL_COLUMN in columns else SUGGESTED_COLUMN
        _check_columns(path, columns, right)
        for cells in reader:
            where = f"--only {path}, line {reader.line_num}"
            # DictReader marks a surplus cell with the key None, and a missing one with the value None
            if None in cells or None in cells.values():
                found = f"does not have {len(columns)} cells, the number of columns"
                raise ReportError(where, found, "put a text with a comma into quotes")
            row = original_row(cells)
            name = row[ID_COLUMN]
            if name in confirmed:
                raise ReportError(where, f"{name!r:.80} is in the table twice", "remove one of the two lines")
            new_label = row[right]
            # a list of suspects has the given label where no other one fits better
            if right == SUGGESTED_COLUMN and new_label == labels.get(name):
                new_label = ""
            confirmed[name] = _confirm(where, row, new_label, labels, classes)
    except csv.Error as error:
        where = f"--only {path}, line {reader.line_num}"
        raise ReportError(where, f"is not valid CSV: {error}", "download the file again") from None
    return confirmed


def _check_columns(path: Path, columns: list[str], right: str) -> None:
    for column in (ID_COLUMN, right):
        # of two columns with one name, DictReader would keep the last without a word
        if columns.count(column) != 1:
            missing = NEW_LABEL_COLUMN if column == SUGGESTED_COLUMN else column
            found = f"has two columns {column!r}" if column in columns else f"has no column {missing!r}"
            names = ",".join((ID_COLUMN, LABEL_COLUMN, NEW_LABEL_COLUMN))
            raise ReportError(
                f"--only {path}", found, f"name its columns in the first line, each once: {names}"
            )


def _wrong_only(path: Path, answers: Iterable[LabelingAnswer], audit: Audit) -> dict[str, ConfirmedSample]:
    """Return the samples whose label was found to be wrong, and check every answer against the audit."""
    labels = dict(zip(audit.samples["id"], audit.samples["label"], strict=True))
    classes = [one.name for one in audit.classes]
    confirmed = {
        one.id: _confirm(one.where, {ID_COLUMN: one.id}, one.label, labels, classes) for one in answers
    }
    wrong = {name: one for name, one in confirmed.items() if one.new_label != labels[name]}
    if not wrong:
        found = f"finds no label wrong (answers: {len(confirmed):,})"
        raise ReportError(f"--only {path}", found, "there is nothing to correct; suppress these suspects")
    return wrong


def _confirm(
    where: str,
    row: Mapping[str, str],
    new_label: str,
    labels: Mapping[str, str],
    classes: Iterable[str],
) -> ConfirmedSample:
    """Check one line of a table against the audit, and return it."""
    name = row[ID_COLUMN]
    reviewed = row.get(LABEL_COLUMN, "")
    if name not in labels:
        raise ReportError(where, f"{name!r:.80} is not a sample of the audit", did_you_mean(name, labels))
    # a list of an earlier audit can name a sample whose label was corrected since
    if reviewed not in {"", labels[name]}:
        found = f"{name!r:.80} is labeled {labels[name]!r:.80} in the audit, not {reviewed!r:.80}"
        raise ReportError(where, found, "name the audit that the list was made from")
    if new_label and new_label not in classes:
        found = f"{new_label!r:.80} is not a class of the audit"
        raise ReportError(where, found, did_you_mean(new_label, classes))
    return ConfirmedSample(where, new_label)
