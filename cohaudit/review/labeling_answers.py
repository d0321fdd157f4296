"""Reads the labels that people gave in a labeling tool, from the tool's own export.

Label Studio: JSON, JSON-MIN and CSV. Argilla: the JSON of `dataset.records.to_json`. doccano: JSONL and JSON.
Samples are found by the key `sample_id`, which `labeling_tasks` writes and the tools keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohaudit.errors import ReportError
from cohaudit.review.labeling_tasks import LABEL, SAMPLE_ID

EXPORTS = "an export of Label Studio (JSON, JSON-MIN, CSV), Argilla (JSON) or doccano (JSONL)"
"""What is read, for messages."""


@dataclass(frozen=True)
class LabelingAnswer:
    """One sample's label as a person gave it."""

    where: str
    """File and task, for messages."""
    id: str
    """Sample id."""
    label: str
    """The label."""


def read_labeling_json(path: Path, text: str) -> list[LabelingAnswer]:
    """Read a tool's export: a list of tasks, or one task in each line.

    Args:
        path: The file, for messages.
        text: Its content.

    Returns:
        The answers; tasks that nobody answered are left out.

    Raises:
        ReportError: The file is no such export, a sample has two different answers, or there is none.
    """
    return _answers(path, _tasks(path, text))


def read_labeling_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> list[LabelingAnswer]:
    """Read Label Studio's export as a table, which has a column for each key of a task.

    Args:
        path: The file, for messages.
        rows: Its rows.

    Returns:
        The answers; tasks that nobody answered are left out.

    Raises:
        ReportError: A sample has two different answers, or there is none.
    """
    return _answers(path, rows)


def _answers(path: Path, tasks: Iterable[Any]) -> list[LabelingAnswer]:
    answers: dict[str, LabelingAnswer] = {}
    for number, task in enumerate(tasks, 1):
        where = f"--only {path}, task {number}"
        if not isinstance(task, Mapping):
            raise _no_export(path)
        name, labels = _sample_id(task, where), _labels(task, where)
        for label in labels:
            earlier = answers.setdefault(name, LabelingAnswer(where, name, label))
            if earlier.label != label:
                found = f"sample {name!r:.80} is labeled both {earlier.label!r:.80} and {label!r:.80}"
                raise ReportError(where, found, "settle it in the labeling tool, and export again")
    if not answers:
        raise ReportError(f"--only {path}", "holds no answer", "label some of the tasks, and export again")
    return list(answers.values())


def _tasks(path: Path, text: str) -> list[Any]:
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in lines]
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _no_export(path) from None
    if not isinstance(content, list):
        raise _no_export(path)
    return content


def _no_export(path: Path) -> ReportError:
    return ReportError(f"--only {path}", "is not a list of labeled tasks", f"name {EXPORTS}")


def _sample_id(task: Mapping[str, Any], where: str) -> str:
    # Label Studio keeps what was imported under `data`, Argilla under `metadata`
    for place in (task, task.get("data"), task.get("metadata")):
        if isinstance(place, Mapping) and isinstance(place.get(SAMPLE_ID), str):
            return str(place[SAMPLE_ID])
    found = f"has no {SAMPLE_ID!r}: it is not a task of cohaudit export"
    raise ReportError(where, found, "label the tasks that cohaudit export wrote")


def _labels(task: Mapping[str, Any], where: str) -> list[str]:
    """Return the different labels that people gave to one task."""
    if "annotations" in task:
        found = list(_label_studio(task["annotations"], where))
    elif "responses" in task:
        found = list(_argilla(task["responses"], where))
    else:
        found = list(_flat(task.get(LABEL, task.get("labels")), where))
    return list(dict.fromkeys(found))


def _label_studio(annotations: Any, where: str) -> Iterator[str]:
    for annotation in _list(annotations, where):
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        for result in _list(annotation.get("result", []), where):
            if isinstance(result, Mapping) and result.get("from_name") == LABEL:
                value = result.get("value")
                yield from _flat(value.get("choices") if isinstance(value, Mapping) else None, where)


def _argilla(responses: Any, where: str) -> Iterator[str]:
    given = responses.get(LABEL, []) if isinstance(responses, Mapping) else responses
    for response in _list(given, where):
        if isinstance(response, Mapping) and response.get("status", "submitted") == "submitted":
            yield from _flat(response.get("value"), where)


def _flat(value: Any, where: str) -> Iterator[str]:
    """Yield the label of an answer, which can be a text, or a list of one; nothing if it is empty."""
    labels = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    if len(labels) > 1 or not all(isinstance(label, str) for label in labels):
        raise ReportError(where, f"its label is {value!r:.80}", "give each sample one of the classes")
    yield from labels


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ReportError(
            where, f"found {value!r:.80} where a list of answers was expected", f"name {EXPORTS}"
        )
    return value
