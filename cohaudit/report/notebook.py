"""What a notebook shows of an audit: a card with both verdicts, one sample with its evidence, and a plot.

Everything is inline, in the notebook's own colors, and loads nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.config.used import setting
from cohaudit.errors import ReportError, did_you_mean, printable
from cohaudit.report.figures.thumbnails import thumbnail
from cohaudit.report.words import named, plural, probability, prose, signed, text
from cohaudit.results import Audit, Evidence, Preview, Skipped
from cohaudit.review.verdicts import Verdict, generalization_verdict, label_verdict

MAX_CARD_SUSPECTS = 6
"""Suspects on a card: one row of pictures, as `audit.suspects` has them all."""
CARD_PICTURE_SIDE = 64
"""Longest side of a picture on a card, in pixels."""
SAMPLE_PICTURE_SIDE = 160
"""Longest side of the picture of one sample, in pixels."""
MAX_CELL_TEXT = 160
"""Characters of a sample's text in a table."""
PLOT_SIZE = (9.0, 3.2)
"""Width and height of a plot, in inches: as wide as a cell."""

_LEVEL_COLORS = {
    "low": "#2e7d32",
    "unclear": "#b26a00",
    "moderate": "#b26a00",
    "high": "#c62828",
    "severe": "#c62828",
}
"""Level of a verdict → color of its edge, readable on white and on black."""


def audit_card(audit: Audit) -> str:
    """Return an audit as HTML: both verdicts, notices, the first suspects, and where the report lies."""
    verdicts = [
        _verdict("Labels", label_verdict(audit)),
        _verdict("New data", generalization_verdict(audit)),
    ]
    subject = audit.subject
    about = f"{plural(subject.samples, 'sample')}, {named(subject.model)}, {named(subject.checkpoint)}"
    parts = [
        Markup('<div style="opacity:.7">{}</div>').format(about),
        _row(verdicts, 8),
        *(_line(f"Note: {prose(notice)}") for notice in audit.notices),
        *(_line(f"Gate {prose(gate.expression)}: {gate.outcome}") for gate in audit.gates),
        _suspects(audit),
        _line(_where(audit)),
    ]
    return str(Markup('<div style="line-height:1.4">{}</div>').format(Markup("").join(parts)))


def sample_card(audit: Audit, sample_id: str) -> str:
    """Return one sample as HTML: how it looks, its labels, and what supports and opposes them.

    Args:
        audit: The audit.
        sample_id: The sample's id.

    Raises:
        ReportError: The audit has no such sample.
    """
    row = find_sample(audit, sample_id)
    evidence = next((one for one in audit.evidence if one.id == sample_id), None)
    parts = [
        _preview(audit.previews.get(sample_id), SAMPLE_PICTURE_SIDE),
        Markup("<div>{}</div>").format(Markup("<br>").join(sample_lines(row, named))),
        *([] if evidence is None else _neighbors(audit, evidence)),
    ]
    body = Markup("").join(parts)
    return str(
        Markup('<div style="display:flex;flex-wrap:wrap;gap:12px;line-height:1.4">{}</div>').format(body)
    )


def find_sample(audit: Audit, sample_id: str) -> dict[str, Any]:
    """Return the row of a sample.

    Raises:
        ReportError: The audit has no such sample.
    """
    rows = audit.samples[audit.samples["id"] == sample_id]
    if rows.empty:
        remedy = did_you_mean(sample_id, audit.samples["id"].tolist())
        raise ReportError(f"sample {sample_id!r:.80}", "is not in the audit", remedy)
    return {str(key): value for key, value in rows.iloc[0].items()}


def sample_lines(row: dict[str, Any], safe: Callable[[str], str] = printable) -> list[str]:
    """Return what is known of a sample, in lines.

    Args:
        row: Its row in the table of samples.
        safe: Makes a name safe to show.
    """
    lines = [f"{safe(row['id'])}: labeled {safe(row['label'])}, predicted {safe(row['predicted'])}"]
    if not pd.isna(row["suspicion"]):
        verdict = "a suspect" if row["suspect"] else row["kind"] or "not a suspect"
        lines.append(f"suspicion {probability(row['suspicion'])} (rank {row['rank']:,}): {verdict}")
        if row["suggested"] != row["label"]:
            lines.append(f"suggested label: {safe(row['suggested'])}")
        lines.append(f"memorization {probability(row['memorization'])}")
    if row["duplicate_of"]:
        lines.append(f"nearly the same as {safe(row['duplicate_of'])}")
    return lines


class AuditPlot(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", bbox_inches="tight")
        return content.getvalue()


def plot_audit(audit: Audit) -> AuditPlot:
    """Draw the number of samples by suspicion, and the accuracy in training and expected on new data."""
    figure = AuditPlot(figsize=PLOT_SIZE, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    suspicion = audit.samples["suspicion"].dropna()
    left.set_title("Samples by suspicion")
    left.set_xlabel("probability that the label is wrong")
    if suspicion.empty:
        left.text(0.5, 0.5, "no label was judged", ha="center", transform=left.transAxes)
    else:
        bins = np.linspace(0, 1, 41).tolist()
        threshold = setting(audit.settings, "suspicion_threshold")
        left.hist(
            [suspicion[suspicion < threshold], suspicion[suspicion >= threshold]], bins=bins, stacked=True
        )
        left.axvline(threshold, color="gray", linestyle="--")
        left.set_yscale("log")
    right.set_title("Accuracy")
    right.set_xlim(0, 1.02)
    names, values = ["in training"], [audit.sanity.accuracy]
    errors = [[0.0], [0.0]]
    if not isinstance(audit.risk, Skipped):
        score = audit.risk.expected
        names.append("expected on new data")
        values.append(score.value)
        errors = [[0.0, score.value - score.low], [0.0, score.high - score.value]]
    # floored: rounding may put a bound on the wrong side of the value
    right.errorbar(values, range(len(values)), xerr=np.maximum(errors, 0), fmt="o", capsize=3)
    right.set_yticks(range(len(values)), names)
    right.set_ylim(len(values) - 0.5, -0.5)
    return figure


def _verdict(name: str, verdict: Verdict) -> Markup:
    color = _LEVEL_COLORS.get(verdict.level, "gray")
    level = "no verdict" if verdict.level == "none" else verdict.level
    return Markup(
        '<div style="border:1px solid rgba(128,128,128,.4);border-left:4px solid {};padding:4px 10px;'
        'max-width:32em"><b>{}: {}</b><br>{}<br><span style="opacity:.8">{}</span></div>'
    ).format(color, name, level, prose(verdict.headline), prose(verdict.sentence))


def _suspects(audit: Audit) -> Markup:
    suspects = audit.labels.suspects
    if isinstance(suspects, Skipped) or not suspects:
        return Markup("")
    rows = audit.suspects.head(MAX_CARD_SUSPECTS)
    pictures = [
        Markup('<div style="max-width:11em">{}<div>{}<br>{} → {}<br>{}</div></div>').format(
            _preview(audit.previews.get(row["id"]), CARD_PICTURE_SIDE),
            named(row["id"]),
            named(row["label"]),
            named(row["suggested"]),
            probability(row["suspicion"]),
        )
        for row in rows.to_dict("records")
    ]
    shown = f"The first {len(rows)} of {plural(suspects, 'suspect')} (audit.suspects, audit.show(id)):"
    return _line(shown) + _row(pictures, 10)


def _neighbors(audit: Audit, evidence: Evidence) -> Iterable[Markup]:
    for title, neighbors in (("supports the label", evidence.supporters), ("opposes it", evidence.opponents)):
        shown = [
            Markup("<div>{}<div>{}<br>{} {}</div></div>").format(
                _preview(audit.previews.get(one.id), CARD_PICTURE_SIDE),
                named(one.id),
                named(one.label),
                signed(one.cosine),
            )
            for one in neighbors
        ]
        yield Markup("<div><b>{}</b>{}</div>").format(title, _row(shown, 8) if shown else ": nothing")


def _row(parts: Iterable[Markup], gap: int) -> Markup:
    """Return parts side by side, in as many rows as they need."""
    style = f"display:flex;flex-wrap:wrap;gap:{gap}px;margin:4px 0;line-height:1.4"
    return Markup('<div style="{}">{}</div>').format(style, Markup("").join(parts))


def _preview(preview: Preview | None, side: int) -> Markup:
    if preview is None:
        return Markup("")
    if preview.image:
        picture = thumbnail(preview.image, side)
        if picture is None:
            return Markup("")
        rendering = "pixelated" if picture.coarse else "auto"
        return Markup(
            '<img src="{}" alt="" style="max-width:{}px;min-width:{}px;image-rendering:{}">'
        ).format(picture.uri, side, side // 2, rendering)
    words = preview.text or "; ".join(f"{name}: {value}" for name, value in preview.row.items())
    return Markup("<div>{}</div>").format(text(words, MAX_CELL_TEXT).short)


def _where(audit: Audit) -> str:
    if audit.report_page is not None:
        return f"Report: {prose(str(audit.report_page))}"
    return "Report: cohaudit.write_report(audit, folder) writes it."


def _line(words: str) -> Markup:
    return Markup("<div>{}</div>").format(words)
