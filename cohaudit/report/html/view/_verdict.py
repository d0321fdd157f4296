"""The first screen: the two verdicts, the numbers beside them, and the gates."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.report.html.view._facts import Notice, Tile, build_notices, build_tiles
from cohaudit.report.html.view._verdict_cards import VerdictCard, build_verdict_cards
from cohaudit.report.words import Text, prose, text
from cohaudit.results import Audit
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
    """Numbers beside the verdicts."""
    gates: tuple[GateView, ...]
    holds: bool
    """Whether every gate passed."""


def build_verdict(audit: Audit) -> Verdict:
    """Return the first screen."""
    return Verdict(
        level=worse_verdict(audit).level,
        headline=prose(overall_headline(audit)),
        trust=trust_sentence(audit),
        cards=build_verdict_cards(audit),
        notices=tuple(build_notices(audit)),
        tiles=tuple(build_tiles(audit)),
        gates=tuple(GateView(text(one.expression), one.outcome, prose(one.reason)) for one in audit.gates),
        holds=all(one.outcome == "passed" for one in audit.gates),
    )
