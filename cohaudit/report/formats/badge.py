"""The two verdicts as a badge: the JSON that shields.io draws (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cohaudit.report.words import percent
from cohaudit.results import Audit, Skipped
from cohaudit.results.labels import LOWEST_BOUND
from cohaudit.review.verdicts import VerdictLevel, expected_score, worse_verdict

SCHEMA_VERSION = 1
"""Version of shields.io's format."""

_COLORS: Mapping[VerdictLevel, str] = {
    "low": "brightgreen",
    "unclear": "yellow",
    "moderate": "yellow",
    "high": "orange",
    "severe": "red",
    "none": "lightgrey",
}
"""Level of the worse verdict → shields.io's name of a color."""


def render_badge(audit: Audit) -> str:
    """Return the badge of an audit as JSON.

    Args:
        audit: Result of a scan.
    """
    level = worse_verdict(audit).level
    badge = {
        "schemaVersion": SCHEMA_VERSION,
        "label": "cohaudit",
        "message": _message(audit),
        "color": _COLORS[level],
        # shields.io then lets no parameter of the address give it another color
        "isError": level in {"severe", "none"},
    }
    return json.dumps(badge, ensure_ascii=False, indent=2) + "\n"


def _message(audit: Audit) -> str:
    if not audit.sanity.auditable:
        return "not auditable"
    return ", ".join(filter(None, (_score(audit), _labels(audit)))) or "no verdict"


def _score(audit: Audit) -> str:
    score = expected_score(audit)
    return "" if isinstance(score, Skipped) else f"{percent(score.value)} on new data"


def _labels(audit: Audit) -> str:
    wrong = audit.labels.wrong
    if isinstance(wrong, Skipped):
        return ""
    if wrong.told:
        return f"{percent(wrong.share.value)} wrong labels"
    return f"up to {percent(max(wrong.share.high, LOWEST_BOUND))} wrong labels"
