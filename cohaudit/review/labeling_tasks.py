"""Tasks for labeling tools: Label Studio, Argilla and doccano, each with the settings that the tool needs.

A task shows the sample, its given label and its suspicion. The suggested label is a prediction, never an
answer: what nobody has looked at must not come back as confirmed. `labeling_answers` reads what the tools
export.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from cohaudit.errors import ReportError
from cohaudit.results import Audit
from cohaudit.results.json_encode import escape_stray_bytes
from cohaudit.review.original_samples import SampleView

SAMPLE = "sample"
"""Name of what a task shows."""
LABEL = "label"
"""Name of the question."""
SAMPLE_ID = "sample_id"
"""Key of the sample's id: every tool has an `id` of its own, which would replace it."""

LABEL_STUDIO = "label-studio"
ARGILLA = "argilla"
DOCCANO = "doccano"


@dataclass(frozen=True)
class Task:
    """One sample to label."""

    id: str
    """Sample id."""
    given: str
    """Label as given."""
    suggested: str
    """Likeliest true label."""
    suspicion: float
    """Probability that the given label is wrong, in [0, 1]."""
    view: SampleView
    """What the labeler sees."""

    @property
    def about(self) -> dict[str, Any]:
        """What a tool shows or keeps beside the sample."""
        return {SAMPLE_ID: self.id, "given_label": self.given, "suspicion": self.suspicion}


def make_tasks(rows: Sequence[Mapping[str, Any]], views: Sequence[SampleView]) -> list[Task]:
    """Return a task for each row.

    Args:
        rows: Rows of the table of samples.
        views: What to show of each.
    """
    return [
        Task(row["id"], row["label"], row["suggested"], row["suspicion"], view)
        for row, view in zip(rows, views, strict=True)
    ]


def render_tasks(kind: str, audit: Audit, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Return the content of the files of a labeling tool.

    Args:
        kind: One of `TASK_FORMATS`.
        audit: The audit of the samples.
        tasks: The samples to label.

    Returns:
        What a file name ends with, after that of the tasks → its content; the tasks come first, under ''.

    Raises:
        ReportError: The tool cannot show such samples.
    """
    return _WRITERS[kind](audit, tasks)


def _label_studio(audit: Audit, tasks: Sequence[Task]) -> dict[str, bytes]:
    kinds = {task.view.kind for task in tasks}
    # pictures and texts side by side need the one tag that shows both
    tag = "HyperText" if len(kinds) > 1 else "Image" if kinds == {"image"} else "Text"
    made: list[dict[str, Any]] = [
        {
            "data": {SAMPLE: _shown(task.view, tag), **task.about},
            "predictions": [
                {
                    "model_version": f"cohaudit {audit.version}",
                    "score": task.suspicion,
                    "result": [
                        {
                            "from_name": LABEL,
                            "to_name": SAMPLE,
                            "type": "choices",
                            "value": {"choices": [task.suggested]},
                        }
                    ],
                }
            ],
        }
        for task in tasks
    ]
    choices = "\n".join(f"    <Choice value={_attribute(one.name)}/>" for one in audit.classes)
    config = f"""<View>
  <{tag} name="{SAMPLE}" value="${SAMPLE}"/>
  <Header value="Labeled: $given_label" size="5"/>
  <Choices name="{LABEL}" toName="{SAMPLE}" choice="single" required="true" showInline="true">
{choices}
  </Choices>
</View>
"""
    return {"": _json(made), ".xml": _text(config)}


def _shown(view: SampleView, tag: str) -> str:
    if tag != "HyperText":
        return view.content
    if view.kind == "image":
        return f'<img src="{html.escape(view.content)}" style="max-width: 100%">'
    return f"<pre>{html.escape(view.content)}</pre>"


def _argilla(audit: Audit, tasks: Sequence[Task]) -> dict[str, bytes]:
    field = _only_kind(tasks, "Argilla")
    records = [
        {
            "id": task.id,
            "fields": {SAMPLE: task.view.content},
            "metadata": task.about,
            "suggestions": {LABEL: {"value": task.suggested, "agent": f"cohaudit {audit.version}"}},
            "responses": {},
            "vectors": {},
        }
        for task in tasks
    ]
    settings = {
        "guidelines": "Is the label right? The suggestion is what similar samples say.",
        "fields": [{"name": SAMPLE, "settings": {"type": field}}],
        "questions": [
            {
                "name": LABEL,
                "required": True,
                "settings": {
                    "type": "label_selection",
                    "options": [{"value": one.name, "text": one.name} for one in audit.classes],
                },
            }
        ],
    }
    return {"": _json(records), ".settings.json": _json(settings)}


def _doccano(audit: Audit, tasks: Sequence[Task]) -> dict[str, bytes]:
    if _only_kind(tasks, "doccano") == "image":
        remedy = "use --format label-studio or argilla"
        raise ReportError("--format doccano", "doccano takes pictures as uploaded files only", remedy)
    lines = [
        {"text": task.view.content, "label": [], **task.about, "suggested_label": task.suggested}
        for task in tasks
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    labels = [{"text": one.name} for one in audit.classes]
    return {"": _text(text), ".labels.json": _json(labels)}


def _only_kind(tasks: Sequence[Task], tool: str) -> str:
    kinds = {task.view.kind for task in tasks}
    if len(kinds) > 1:
        found = "some samples are pictures, and others have only a text"
        raise ReportError(f"tasks for {tool}", found, "name the audited data with --data, or --image-root")
    return next(iter(kinds), "text")


def _attribute(text: str) -> str:
    # XML has no way to write most control characters
    return quoteattr(
        "".join(one if one.isprintable() or one == " " else f"\\x{ord(one):02x}" for one in text)
    )


def _json(content: Any) -> bytes:
    return _text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _text(content: str) -> bytes:
    return escape_stray_bytes(content).encode()


_WRITERS: dict[str, Callable[[Audit, Sequence[Task]], dict[str, bytes]]] = {
    LABEL_STUDIO: _label_studio,
    ARGILLA: _argilla,
    DOCCANO: _doccano,
}
"""Tool → function that writes its files."""

TASK_FORMATS = tuple(_WRITERS)
"""Formats that are tasks for a labeling tool."""
