"""The optional audits as one section each, all of one form, so that one template lays out any of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cohaudit.report.html.view._tables import Table, shortened
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.html.view.audits._decay import build_decay
from cohaudit.report.html.view.audits._depth import build_depth_trend
from cohaudit.report.html.view.audits._flatness import build_flatness
from cohaudit.report.html.view.audits._inputs import build_inputs
from cohaudit.report.html.view.audits._memory import build_memory
from cohaudit.report.html.view.audits._robust import build_robust_step
from cohaudit.report.html.view.audits._stability import build_stability
from cohaudit.report.html.view.audits._trajectory import build_trajectory
from cohaudit.report.html.view.audits._width import build_width
from cohaudit.report.words import prose, seconds
from cohaudit.results import Audit, Skipped

__all__ = ["AuditSection", "build_audits"]


@dataclass(frozen=True)
class AuditSection:
    """The section of one optional audit."""

    name: str
    """Its key in audit.json, and its id on the page."""
    title: str
    line: str
    """The first sentence of the advice."""
    to_do: bool
    """Whether the advice asks for something to be done."""
    advice: str
    """What to do, with the number behind it."""
    figure: Markup
    """SVG; empty for none."""
    tables: tuple[Table, ...]
    reading: str
    """How to read the figure and the tables."""
    cost: str
    """What the audit added to the time of the scan; empty when unknown."""


TITLES: Mapping[str, str] = {
    "depth": "Depth: do samples agree more in deeper layers?",
    "width": "Width: how many units hold what samples share?",
    "inputs": "Input columns: which carry signal?",
    "decay": "Weight decay against the data",
    "memory": "Optimizer state: how steady are the gradients?",
    "robust": "Robust averages: what share of the update comes from memorized samples?",
    "trajectory": "Trajectory: what was learned when, and where to stop",
    "stability": "Stability bound over the training run",
    "flatness": "Flatness: how many answers stay with noise in the weights?",
}
"""Audit → title of its section."""
BUILDERS: Mapping[str, Callable[[Any], AuditBody]] = {
    "depth": build_depth_trend,
    "width": build_width,
    "inputs": build_inputs,
    "decay": build_decay,
    "memory": build_memory,
    "robust": build_robust_step,
    "trajectory": build_trajectory,
    "stability": build_stability,
    "flatness": build_flatness,
}
"""Field of `AuditResults` → builder of its section's body, in the order of the page."""


_SENTENCE_END = re.compile(r"(?<=[.:]) (?=[A-Z])")
"""Where a sentence of an advice ends, and another one begins."""


def build_audits(audit: Audit) -> tuple[AuditSection, ...]:
    """Return the sections of the optional audits that were run."""
    sections = []
    for name, build in BUILDERS.items():
        result = getattr(audit.audits, name)
        if isinstance(result, Skipped):
            continue
        body = build(result)
        cost = audit.timings.get(f"audit {name}")
        sections.append(
            AuditSection(
                name=name,
                title=TITLES[name],
                line=prose(_SENTENCE_END.split(result.advice, maxsplit=1)[0]),
                to_do=body.to_do,
                advice=prose(result.advice),
                figure=body.figure,
                tables=tuple(map(shortened, body.tables)),
                reading=body.reading,
                cost="" if cost is None else f"Took {seconds(cost)}.",
            )
        )
    return tuple(sections)
