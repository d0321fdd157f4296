"""The first screen: what was audited, what came out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cohaudit import results
from cohaudit.config.used import setting
from cohaudit.report.html.view._actions import Action, Cause, build_actions, build_causes
from cohaudit.report.html.view._settings import judged
from cohaudit.report.words import Text, count, interval, number, percent, plural, points, prose, text
from cohaudit.results import LEVELS, Audit, Coherence, Estimate, Holdout, Level, Risk, Skipped, format_points

WIDEST = 0.4
"""Gap at which the scale ends."""
_MEANINGS: dict[Level, str] = {
    "low": "a gap below {0:.6g} points",
    "moderate": "a gap of {0:.6g} to {1:.6g} points",
    "high": "a gap of {1:.6g} to {2:.6g} points",
    "severe": "a gap of {2:.6g} points or more",
}
_TRUST: dict[Level, str] = {
    "low": "Its training accuracy can be trusted.",
    "moderate": "Its training accuracy is a little too good to be true.",
    "high": "Do not trust its training accuracy.",
    "severe": "Its training accuracy says next to nothing.",
}
_KINDS = {"samples": "Samples", "layer": "Layer", "class": "Class", "training": "Training"}


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
    """The part of the scale of gaps that a risk level takes."""

    level: Level
    width: str
    """As a CSS percentage."""


@dataclass(frozen=True)
class Term:
    """One part of the predicted gap."""

    name: str
    reason: str
    measured: str
    adds: str


@dataclass(frozen=True)
class Driver:
    """Something that the gap comes from."""

    kind: str
    name: Text
    """Of the layer or class; empty for what has none."""
    measured: str
    reason: Text
    remedy: Text


@dataclass(frozen=True)
class Gate:
    """One condition of the build and what came of it."""

    expression: Text
    outcome: str
    """'failed', 'warned' or 'passed'."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The first screen."""

    level: str
    """The risk level, or 'none' without a verdict."""
    headline: str
    trust: str
    """Whether to trust the model, in a sentence; empty without a verdict."""
    sentence: str
    value: str
    """The gap in points, without its sign; empty without a verdict."""
    unit: str
    """What the value is."""
    interval: str
    """Its interval, in words."""
    position: str
    """The gap's place on the scale, as a CSS percentage."""
    reach: tuple[str, str]
    """Where its interval begins on the scale, and how wide it is."""
    bands: tuple[Band, ...]
    notices: tuple[Notice, ...]
    tiles: tuple[Tile, ...]
    facts: tuple[tuple[str, Text], ...]
    """What was audited: name and value."""
    terms: tuple[Term, ...]
    causes: tuple[Cause, ...]
    """The largest three."""
    actions: tuple[Action, ...]
    drivers: tuple[Driver, ...]
    """All that the gap comes from."""
    holdout: tuple[tuple[str, str], ...]
    """What was measured on samples held out: name and value."""
    gates: tuple[Gate, ...]


def build_verdict(audit: Audit) -> Verdict:
    """Put the first screen into words."""
    level, headline, sentence = _judgment(audit)
    risk = None if isinstance(audit.risk, Skipped) else audit.risk
    return Verdict(
        level=level,
        headline=headline,
        trust="" if risk is None else _TRUST[risk.level],
        sentence=sentence,
        value="" if risk is None else points(abs(risk.gap.value)),
        unit=f"points of accuracy {'less' if risk is None or risk.gap.value >= 0 else 'more'} on new data",
        interval="" if risk is None else f"{risk.coverage:.0%} interval: {format_points(risk.gap)}",
        position="" if risk is None else f"{_place(risk.gap.value):.1%}",
        reach=("", "") if risk is None else _reach(risk.gap),
        bands=tuple(_bands(audit)),
        notices=tuple(_notices(audit)),
        tiles=tuple(_tiles(audit)),
        facts=tuple(_facts(audit)),
        terms=() if risk is None else tuple(_terms(risk)),
        causes=build_causes(audit),
        actions=build_actions(audit),
        drivers=() if risk is None else tuple(_drivers(risk)),
        holdout=() if risk is None else tuple(_holdout(risk)),
        gates=tuple(Gate(text(g.expression), g.outcome, prose(g.reason)) for g in audit.gates),
    )


def _judgment(audit: Audit) -> tuple[str, str, str]:
    if not audit.sanity.auditable:
        return "none", "Not auditable", prose(f"No verdict is given: {audit.sanity.reason}")
    if isinstance(audit.risk, Skipped):
        return "none", "Risk not estimated", prose(audit.risk.reason)
    return (
        audit.risk.level,
        f"{audit.risk.level.capitalize()} risk of overfitting",
        _meaning(audit, audit.risk),
    )


def _meaning(audit: Audit, risk: Risk) -> str:
    """Say what the level means, and what it rests on."""
    level = _MEANINGS[risk.level].format(*(100 * gap for gap in setting(audit.settings, "risk_levels")))
    accuracy = audit.sanity.accuracy
    expected = min(1.0, max(0.0, accuracy - risk.gap.value))
    source = (
        "By the holdout and the training data"
        if isinstance(risk.holdout, Holdout)
        else "From the training data"
    )
    return (
        f"{source}, about {percent(expected)} are to be expected on new data, where the training has "
        f"{percent(accuracy)}. {risk.level.capitalize()} means {level}."
    )


def _place(gap: float) -> float:
    return min(max(gap / WIDEST, 0.0), 1.0)


def _reach(gap: Estimate) -> tuple[str, str]:
    low = _place(gap.low)
    high = _place(gap.high)
    return f"{low:.1%}", f"{high - low:.1%}"


def _bands(audit: Audit) -> Iterator[Band]:
    edges = (0.0, *(_place(gap) for gap in setting(audit.settings, "risk_levels")), 1.0)
    for level, low, high in zip(LEVELS, edges[:-1], edges[1:], strict=True):
        yield Band(level, f"{high - low:.1%}")


def _notices(audit: Audit) -> Iterator[Notice]:
    failed = sum(gate.failed for gate in audit.gates)
    temperature = setting(audit.settings, "temperature")
    warned = sum(gate.outcome == "warned" for gate in audit.gates)
    if failed:
        yield Notice(f"{failed} of {plural(len(audit.gates), 'gate')} failed.", "failed")
    if warned:
        yield Notice(f"{warned} of {plural(len(audit.gates), 'gate')} warned.", "warning")
    for notice in audit.notices:
        yield Notice(prose(notice), "warning")
    if temperature != 1:
        words = (
            f"Gradients are those of the loss on logits / {temperature:g}: no longer those of the training."
        )
        yield Notice(words, "plain")


def _tiles(audit: Audit) -> Iterator[Tile]:
    sanity = audit.sanity
    samples = audit.subject.samples
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
    held = f"{plural(audit.certificate.samples, 'sample')} measured again by plain autograd"
    yield Tile("Certificate", "passed", held)
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
    yield "Mean training loss", text(f"{number(audit.sanity.mean_loss)} nats")


def _hashed(files: Mapping[str, str]) -> str:
    """Return paths, each with the start of its file's hash, which audit.json has whole."""
    return ", ".join(f"{path} ({sha256[:12]})" if sha256 else path for path, sha256 in files.items())


def _terms(risk: Risk) -> Iterator[Term]:
    for term in risk.terms:
        yield Term(prose(term.name), prose(term.reason), percent(term.measured), points(term.adds))
    if isinstance(risk.holdout, Holdout):
        reason = (
            f"The parts above predict {format_points(risk.predicted)} from the training data alone; on "
            f"{count(risk.holdout.samples)} samples held out {format_points(risk.holdout.gap)} were measured."
        )
        correction = points(risk.gap.value - risk.predicted.value)
        yield Term("what the holdout corrects", reason, percent(risk.holdout.accuracy), correction)


def _drivers(risk: Risk) -> Iterator[Driver]:
    for one in risk.drivers:
        yield Driver(
            kind=_KINDS[one.kind],
            name=text("" if one.name == one.kind else one.name, 40),
            measured=_measured(one),
            reason=text(one.reason, 400),
            remedy=text(one.remedy, 400),
        )


def _measured(driver: results.Driver) -> str:
    """Write what is behind a driver in its own unit."""
    if driver.kind == "class":
        return f"{points(driver.measured)} points"
    return number(driver.measured) if driver.kind == "training" else percent(driver.measured)


def _holdout(risk: Risk) -> Iterator[tuple[str, str]]:
    """Yield what was measured on the samples held out, beside what was predicted."""
    found = risk.holdout
    if isinstance(found, Skipped):
        return
    left_out = f"; {count(found.repeated)} more in the training data too, left out" if found.repeated else ""
    yield "Samples", f"{count(found.samples)}{left_out}"
    yield "Accuracy", percent(found.accuracy)
    yield "Measured gap", format_points(found.gap)
    yield "Gap predicted without them", format_points(risk.predicted)
    yield "Cosine of the mean gradients", number(found.cosine)
    yield "Coherence within the training, α_u", number(found.within)
    yield "Coherence from training to holdout", number(found.across)
