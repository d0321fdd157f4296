"""The badge: what shields.io takes, and the same numbers as the two verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.audits import make_audit

from cohaudit.report.formats.badge import render_badge
from cohaudit.report.words import percent
from cohaudit.results import Audit, Estimate, Risk, Skipped, WrongLabels
from cohaudit.review.verdicts import VerdictLevel, worse_verdict

AUDIT = make_audit(samples=60, suspects=6, classes=3)
COLORS = {"brightgreen", "green", "yellowgreen", "yellow", "orange", "red", "blue", "lightgrey"}
"""Names of colors that shields.io knows."""


def badge(audit: Audit) -> dict[str, Any]:
    """Return the badge, checked by what https://shields.io/badges/endpoint-badge asks for."""
    found: dict[str, Any] = json.loads(render_badge(audit))
    assert found["schemaVersion"] == 1
    assert set(found) == {"schemaVersion", "label", "message", "color", "isError"}
    assert found["label"]
    assert found["message"]
    assert found["color"] in COLORS
    assert isinstance(found["isError"], bool)
    return found


def with_labels(told: bool, level: Any) -> Audit:
    wrong = WrongLabels(Estimate(0.09, 0.07, 0.123), 0.1, 0.9, told, level)
    return replace(AUDIT, wrong_labels=wrong)


def test_it_has_the_numbers_of_both_verdicts() -> None:
    assert isinstance(AUDIT.risk, Risk)
    score = percent(AUDIT.risk.expected.value)
    assert badge(with_labels(True, "high"))["message"] == f"{score} on new data, 9.0% wrong labels"
    assert badge(with_labels(False, "unclear"))["message"] == f"{score} on new data, up to 12.3% wrong labels"


@pytest.mark.parametrize(("level", "color"), [("low", "brightgreen"), ("high", "orange"), ("severe", "red")])
def test_its_color_is_that_of_the_worse_verdict(level: VerdictLevel, color: str) -> None:
    assert isinstance(AUDIT.risk, Risk)
    audit = replace(with_labels(True, level), risk=replace(AUDIT.risk, level="low"))
    assert worse_verdict(audit).level == level
    found = badge(audit)
    assert (found["color"], found["isError"]) == (color, level == "severe")


def test_what_has_no_verdict_is_no_success() -> None:
    found = badge(make_audit(auditable=False, samples=60))
    assert (found["message"], found["color"], found["isError"]) == ("not auditable", "lightgrey", True)
    missing = replace(AUDIT, risk=Skipped("risk", "no"), wrong_labels=Skipped("labels", "no"))
    assert badge(missing)["message"] == "no verdict"
