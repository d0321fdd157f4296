"""The first screen: what was audited, what came out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cohaudit.report._words import Text, count, fixed, interval, number, percent, plural, prose, text
from cohaudit.report.view._settings import judged, setting
from cohaudit.results import LEVELS, Audit, Coherence, Level, Risk, Skipped

_SENTENCES: dict[Level, str] = {
    "low": "Most of what the model fits is shared between samples; little points to memorization.",
    "moderate": "Some of what the model fits is shared by few samples: see the reasons before relying on it.",
    "high": "Much of what the model fits is shared by few samples: it may do clearly worse on new data.",
    "severe": "Most of what the model fits belongs to single samples: expect much worse on new data.",
}


@dataclass(frozen=True)
class Notice:
    """What a reader must know before the numbers."""

    words: str
    kind: str
    """How urgent: 'plain', 'warning' or 'failed'."""


@dataclass(frozen=True)
class Tile:
    """One number of the first screen."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Band:
    """The part of the scale from 0 to 1 that a risk level takes."""

    level: Level
    width: str
    """As a CSS percentage."""
    until: str
    """Where it ends."""


@dataclass(frozen=True)
class Term:
    """One reason for the risk."""

    name: str
    reason: str
    measured: str
    value: str
    bar: str
    """The value as a CSS percentage."""
    weight: str
    contribution: str


@dataclass(frozen=True)
class Gate:
    """One condition of the build and what came of it."""

    expression: Text
    outcome: str
    """'failed' or 'passed'."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The first screen."""

    level: str
    """The risk level, or 'none' without a verdict."""
    headline: str
    sentence: str
    value: str
    """The risk in [0, 1]; empty without a verdict."""
    position: str
    """The risk as a CSS percentage."""
    bands: tuple[Band, ...]
    notices: tuple[Notice, ...]
    tiles: tuple[Tile, ...]
    facts: tuple[tuple[str, Text], ...]
    """What was audited: name and value."""
    terms: tuple[Term, ...]
    gates: tuple[Gate, ...]


def build_verdict(audit: Audit) -> Verdict:
    """Put the first screen into words."""
    level, headline, sentence = _judgment(audit)
    risk = None if isinstance(audit.risk, Skipped) else audit.risk
    return Verdict(
        level=level,
        headline=headline,
        sentence=sentence,
        value="" if risk is None else fixed(risk.value),
        position="" if risk is None else f"{risk.value:.1%}",
        bands=tuple(_bands(audit)),
        notices=tuple(_notices(audit)),
        tiles=tuple(_tiles(audit)),
        facts=tuple(_facts(audit)),
        terms=() if risk is None else tuple(_terms(risk)),
        gates=tuple(
            Gate(text(g.expression), "failed" if g.failed else "passed", prose(g.reason)) for g in audit.gates
        ),
    )


def _judgment(audit: Audit) -> tuple[str, str, str]:
    if not audit.sanity.auditable:
        return "none", "Not auditable", prose(f"No verdict is given: {audit.sanity.reason}")
    if isinstance(audit.risk, Skipped):
        return "none", "Risk not estimated", prose(audit.risk.reason)
    return (
        audit.risk.level,
        f"{audit.risk.level.capitalize()} risk of overfitting",
        _SENTENCES[audit.risk.level],
    )


def _bands(audit: Audit) -> Iterator[Band]:
    edges = (0.0, *setting(audit, "risk_levels"), 1.0)
    for level, low, high in zip(LEVELS, edges[:-1], edges[1:], strict=True):
        yield Band(level, f"{high - low:.1%}", f"{high:g}")


def _notices(audit: Audit) -> Iterator[Notice]:
    failed, temperature = sum(gate.failed for gate in audit.gates), setting(audit, "temperature")
    if failed:
        yield Notice(f"{failed} of {plural(len(audit.gates), 'gate')} failed.", "failed")
    for notice in audit.notices:
        yield Notice(prose(notice), "warning")
    if temperature != 1:
        words = (
            f"Gradients are those of the loss on logits / {temperature:g}: no longer those of the training."
        )
        yield Notice(words, "plain")


def _tiles(audit: Audit) -> Iterator[Tile]:
    sanity, samples = audit.sanity, audit.subject.samples
    yield Tile("Training accuracy", percent(sanity.accuracy), f"chance is {percent(sanity.chance)}")
    yield Tile("Samples", count(samples), f"in {plural(len(audit.classes), 'class')}")
    suspects = int(audit.samples["suspect"].sum())
    if judged(audit):
        yield Tile("Suspects", count(suspects), f"{percent(suspects / max(samples, 1))} of the samples")
    if isinstance(audit.coherence, Coherence):
        m_coherence = audit.coherence.m_coherence
        low = "; below 1 gradients cancel, as near convergence" if m_coherence.value < 1 else ""
        note = f"of {count(samples)}; {interval(m_coherence)}{low}"
        yield Tile("m-coherence", number(m_coherence.value), note)
    yield Tile("Parameters", count(audit.subject.parameters), f"in {plural(len(audit.layers), 'layer')}")


def _facts(audit: Audit) -> Iterator[tuple[str, Text]]:
    subject = audit.subject
    yield "Checkpoint", text(subject.checkpoint, 72)
    yield "Format", text(subject.checkpoint_format, 72)
    if subject.checkpoint_sha256:
        yield "SHA-256", text(subject.checkpoint_sha256, 20)
    if subject.earlier:
        yield "Earlier checkpoints", text(_hashed(subject.earlier), 200)
    yield "Model", text(subject.model, 72)
    yield "Data", text(subject.data, 72)
    yield "Data fingerprint", text(subject.data_fingerprint, 20)


def _hashed(files: Mapping[str, str]) -> str:
    """Return paths, each with the start of its file's hash, which audit.json has whole."""
    return ", ".join(f"{path} ({sha256[:12]})" if sha256 else path for path, sha256 in files.items())


def _terms(risk: Risk) -> Iterator[Term]:
    for term in risk.terms:
        yield Term(
            name=prose(term.name),
            reason=prose(term.reason),
            measured=number(term.measured),
            value=fixed(term.value),
            bar=f"{term.value:.1%}",
            weight=f"{term.weight:.0%}",
            contribution=fixed(term.value * term.weight),
        )
