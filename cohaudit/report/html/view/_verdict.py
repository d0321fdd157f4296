"""The first screen: what was audited, what came out, and why."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.report.html.view._actions import Action, Cause, build_actions, build_causes
from cohaudit.report.html.view._facts import Notice, Tile, build_facts, build_notices, build_tiles
from cohaudit.report.html.view._gap import (
    DriverView,
    TermView,
    build_drivers,
    build_terms,
    holdout_rows,
    reading,
)
from cohaudit.report.html.view._verdict_cards import VerdictCard, build_verdict_cards
from cohaudit.report.words import Text, prose, text
from cohaudit.results import Audit, Skipped
from cohaudit.review.verdicts import overall_headline, trust_sentence, worse_verdict


@dataclass(frozen=True)
class GateView:
    """One condition of the build and its outcome."""

    expression: Text
    outcome: str
    """'failed', 'warned' or 'passed'."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The first screen."""

    level: str
    """The level of the worse verdict, or 'none' without a verdict."""
    headline: str
    trust: str
    """Whether to trust the model, in a sentence; empty where nothing is to be said."""
    cards: tuple[VerdictCard, VerdictCard]
    """The verdicts on the labels and on new data."""
    notices: tuple[Notice, ...]
    tiles: tuple[Tile, ...]
    facts: tuple[tuple[str, Text], ...]
    """What was audited: name and value."""
    terms: tuple[TermView, ...]
    """Parts that the gap is made of."""
    causes: tuple[Cause, ...]
    """The largest causes of the gap."""
    actions: tuple[Action, ...]
    """What to do, the largest expected effect first."""
    drivers: tuple[DriverView, ...]
    """All causes of the gap."""
    holdout: tuple[tuple[str, str], ...]
    """What was measured on the holdout: name and value; empty without one."""
    gates: tuple[GateView, ...]
    reading: str
    """How to read the first screen."""


def build_verdict(audit: Audit) -> Verdict:
    """Return the first screen."""
    risk = None if isinstance(audit.risk, Skipped) else audit.risk
    return Verdict(
        level=worse_verdict(audit).level,
        headline=prose(overall_headline(audit)),
        trust=trust_sentence(audit),
        cards=build_verdict_cards(audit),
        notices=tuple(build_notices(audit)),
        tiles=tuple(build_tiles(audit)),
        facts=tuple(build_facts(audit)),
        terms=() if risk is None else tuple(build_terms(risk)),
        causes=build_causes(audit),
        actions=build_actions(audit),
        drivers=() if risk is None else tuple(build_drivers(risk)),
        holdout=() if risk is None else tuple(holdout_rows(risk)),
        gates=tuple(GateView(text(one.expression), one.outcome, prose(one.reason)) for one in audit.gates),
        reading=reading(risk),
    )
