"""What the review page shows, as data: one question for each label that a person should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cohaudit.report.figures.thumbnails import thumbnail
from cohaudit.report.html.script_data import script_data, shown_text
from cohaudit.report.words import Text, prose, text
from cohaudit.results import Audit, Preview
from cohaudit.results.reviewed import ANSWERS
from cohaudit.results.tables import table_to_records

MAX_COLUMNS = 60
"""Columns of a table row shown at most."""
PICTURE_SIDE = 256
"""Longest side of a picture, in pixels: a reviewer needs to see more than the report's gallery shows."""


@dataclass(frozen=True)
class ReviewPage:
    """The review page."""

    subject: Text
    """The data that is reviewed."""
    questions: int
    data: Markup
    """JSON for the script."""
    version: str


def build_review_page(audit: Audit, ids: Sequence[str]) -> ReviewPage:
    """Return the page.

    Args:
        audit: The result of a scan.
        ids: Ids of the samples to ask about, in the order to ask.
    """
    classes = [one.name for one in audit.classes]
    return ReviewPage(
        subject=text(audit.subject.data, 60),
        questions=len(ids),
        data=script_data(
            {
                # the browser keeps answers by this: they are about the data, whatever model was scanned
                "key": f"{audit.subject.data_fingerprint:.32}",
                "answers": list(ANSWERS),
                "classes": [shown_text(text(name, 40), name) for name in classes],
                "questions": list(_questions(audit, ids, classes)),
            }
        ),
        version=audit.version,
    )


def _questions(audit: Audit, ids: Sequence[str], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    place = {name: i for i, name in enumerate(classes)}
    rows = audit.samples.set_index("id", drop=False).loc[list(ids)]
    for row in table_to_records(rows):
        # neither suspicion nor suggestion: a reviewer who knows them is no longer independent
        yield {
            "id": shown_text(text(row["id"], 56), row["id"]),
            "content": row["content"],
            "given": place[row["label"]],
        } | _shown(audit.previews.get(row["id"]))


def _shown(preview: Preview | None) -> dict[str, Any]:
    """Return how to show the sample; nothing without a preview."""
    if preview is None:
        return {}
    if preview.image:
        picture = thumbnail(preview.image, PICTURE_SIDE)
        return {"picture": picture.uri, "coarse": picture.coarse} if picture else {}
    if preview.text:
        return {"text": prose(preview.text)}
    cells = list(preview.row.items())
    if not cells:
        return {}
    pairs = [[shown_text(text(name, 40)), shown_text(text(value, 80))] for name, value in cells[:MAX_COLUMNS]]
    return {"row": pairs, "more": max(0, len(cells) - MAX_COLUMNS)}
