"""Answers: a file of labels that a person reviewed, as JSON or a table, and the samples they are about.

An answer names a sample by the hash of its input, and the label that was asked about. It says nothing about
any other input or label, so that a file made for other data applies to none of its samples.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cohaudit.config.keys import TYPE_NAMES
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results.reviewed import ANSWERS, SHORT_HASH_DIGITS, Answer
from cohaudit.results.spreadsheets import original_row
from cohaudit.untrusted import check_regular, read_text

ANSWERS_KEY = "answers"
"""Key of the list of answers in a JSON file."""

MAX_FILE_BYTES = 64_000_000
"""Largest file that is read: about 300,000 answers, which no person gives."""

MAX_NAMES_IN_NOTICE = 3
"""Answers that a notice names; more are counted."""

REQUIRED = ("content", "label", "answer")
"""Keys, or columns, that every answer needs."""

KNOWN = (*(field.name for field in fields(Answer)), "suggested")
"""Keys, or columns, that an answer may have; `suggested` helps whoever fills in a table, and is not read."""

WRITE_ANEW = "download it again from the page that cohaudit review writes"
"""What to do about a file that is damaged."""

_CONTENT = re.compile(rf"[0-9a-f]{{{SHORT_HASH_DIGITS}}}")
"""Form of the hash of a sample's input."""


@dataclass(frozen=True)
class AnswerFile:
    """A file of answers that was read."""

    path: str
    """The file, as the user named it."""
    answers: tuple[Answer, ...]
    """The answers, each sample and label once, in the file's order."""


@dataclass(frozen=True)
class MatchedAnswers:
    """The samples that a file's answers are about."""

    samples: Mapping[int, Answer]
    """Index of a sample → its answer, rising. Equal samples with one label share an answer."""
    unmatched: tuple[Answer, ...]
    """Answers about no audited sample."""


def read_answers(path: Path, name: str = "") -> AnswerFile:
    """Read a file of answers: JSON as the review page saves it, or a table as `--format csv` writes it.

    Args:
        path: The file; a table when its name ends in .csv.
        name: The file as the user named it; the path if left out.

    Returns:
        Its answers; rows of a table without an answer are left out.

    Raises:
        ConfigError: The file cannot be read, an answer is incomplete or contradicts another one, or there is
            none.
    """
    text = _read(path)
    places = _table_rows(path, text) if path.suffix.lower() == ".csv" else _json_entries(path, text)
    found: dict[tuple[str, str], tuple[str, Answer]] = {}
    for where, values in places:
        answer = _answer(values, where)
        earlier, first = found.setdefault((answer.content, answer.label), (where, answer))
        if (first.answer, first.true_label) != (answer.answer, answer.true_label):
            told = f"contradicts {earlier}, which is about the same input and label"
            raise ConfigError(where, told, "delete one of the two")
    if not found:
        raise ConfigError(
            str(path), "holds no answer", f"answer {', '.join(ANSWERS)} for some labels, or omit the file"
        )
    return AnswerFile(name or str(path), tuple(answer for _, answer in found.values()))


def match_answers(
    answers: Sequence[Answer], contents: Sequence[str], labels: Sequence[str]
) -> MatchedAnswers:
    """Find the samples that answers are about.

    Args:
        answers: From `read_answers`.
        contents: Short hash of each sample's input, [N].
        labels: Class name of each sample, [N].
    """
    by_key = {(answer.content, answer.label): answer for answer in answers}
    keys = list(zip(contents, labels, strict=True))
    samples = {i: by_key[key] for i, key in enumerate(keys) if key in by_key}
    matched = set(keys)
    return MatchedAnswers(samples, tuple(one for key, one in by_key.items() if key not in matched))


def unmatched_notice(unmatched: Sequence[Answer], path: str) -> str:
    """Return a notice about answers that apply to no sample; empty when there are none.

    Args:
        unmatched: The answers.
        path: Their file.
    """
    if not unmatched:
        return ""
    names = [f"{one.id or one.content!r:.60} as {one.label!r:.60}" for one in unmatched]
    shown = ", ".join(names[:MAX_NAMES_IN_NOTICE])
    hidden = len(names) - MAX_NAMES_IN_NOTICE
    verb = "answer applies" if len(names) == 1 else "answers apply"
    return (
        f"{len(names):,} {verb} to no audited sample: {shown}{f' and {hidden:,} more' * (hidden > 0)} "
        f"({path}). The sample was removed or not audited, or its input or label has changed."
    )


def _read(path: Path) -> str:
    try:
        size = check_regular(path, ConfigError).st_size
        if size > MAX_FILE_BYTES:
            found = f"is {size / 1e6:,.0f} MB large, more than a person can have answered"
            raise ConfigError(str(path), found, "name the file that the review page saved")
        return read_text(path, ConfigError, MAX_FILE_BYTES)
    except OSError as error:
        remedy = "name the file that the review page saved"
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", remedy) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from None


def _json_entries(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield place and values of each answer in a JSON file."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(
            str(path), "is not JSON, or was cut short", f"{WRITE_ANEW}; a table needs a name ending in .csv"
        ) from None
    entries = content.get(ANSWERS_KEY) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found = f"has no list {ANSWERS_KEY!r} of objects: it is not a file of reviewed labels"
        raise ConfigError(str(path), found, "name the file that the review page saved")
    for number, entry in enumerate(entries, 1):
        yield f"{path}, answer {number}", entry


def _table_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield place and cells of each answered row of a table."""
    # newline="" keeps line breaks within quotes; strict refuses a stray quote instead of guessing
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        for column in REQUIRED:
            if columns.count(column) != 1:
                found = f"has {'two columns' if column in columns else 'no column'} {column!r}"
                raise ConfigError(
                    str(path), found, "keep the columns that cohaudit review --format csv writes"
                )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            # DictReader marks a surplus cell with the key None, and a missing one with the value None
            if None in row or None in row.values():
                found = f"does not have {len(columns)} cells, the number of columns"
                raise ConfigError(where, found, "put a text with a comma into quotes")
            if row["answer"].strip():
                yield where, original_row(row)
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}", f"is not valid CSV: {error}", "save the table again"
        ) from None


def _answer(values: Mapping[str, Any], where: str) -> Answer:
    """Check every part of an answer, and return it."""
    for key, value in values.items():
        if key not in KNOWN:
            raise ConfigError(f"{where}: {key:.80}", "there is no such key", did_you_mean(key, KNOWN))
        if not isinstance(value, str):
            kind = TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
            raise ConfigError(f"{where}: {key}", f"found {value!r:.80}, {kind}", "give a text in quotes")
    for key in REQUIRED:
        if key not in values:
            raise ConfigError(f"{where}: {key}", "is missing", WRITE_ANEW)
    name = values["answer"].strip().lower()
    if name not in ANSWERS:
        raise ConfigError(f"{where}: answer", f"found {values['answer']!r:.80}", did_you_mean(name, ANSWERS))
    if not _CONTENT.fullmatch(values["content"]):
        found = f"found {values['content']!r:.80}, not {SHORT_HASH_DIGITS} hexadecimal digits"
        raise ConfigError(f"{where}: content", found, "copy it from the column content of samples.csv")
    true_label = values.get("true_label", "")
    if true_label and (name == "wrong") == (true_label == values["label"]):
        found = f"found {true_label!r:.80}, but the label {values['label']!r:.80} is said to be {name}"
        raise ConfigError(f"{where}: true_label", found, "correct the answer, or leave true_label empty")
    return Answer(
        content=values["content"],
        label=values["label"],
        answer=name,
        true_label=true_label if name == "wrong" else "",
        id=values.get("id", ""),
    )
