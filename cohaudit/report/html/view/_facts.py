"""Facts on the first screen: notices, the tiles with single numbers, and what was audited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cohaudit.config.used import setting
from cohaudit.report.html.view._judged import judges_samples, lists_suspects
from cohaudit.report.words import (
    Text,
    compact,
    count,
    interval,
    number,
    percent,
    plural,
    prose,
    text,
)
from cohaudit.results import Audit, Coherence, Crossfit, Skipped
from cohaudit.results.gap import format_crossfit


@dataclass(frozen=True)
class Notice:
    """What a reader must know before the numbers."""

    words: str
    kind: str
    """Urgency: 'plain', 'warning' or 'failed'."""


@dataclass(frozen=True)
class Tile:
    """One number of the first screen."""

    label: str
    term: str
    """What the number is, as the page's other places name it."""
    value: str
    note: str


def build_notices(audit: Audit) -> Iterator[Notice]:
    """Yield the notices, the most urgent first."""
    gates = plural(len(audit.gates), "gate")
    failed = sum(gate.failed for gate in audit.gates)
    warned = sum(gate.outcome == "warned" for gate in audit.gates)
    if failed:
        yield Notice(f"{failed} of {gates} failed.", "failed")
    if warned:
        yield Notice(f"{warned} of {gates} warned.", "warning")
    for notice in audit.notices:
        yield Notice(prose(notice), "warning")
    temperature = setting(audit.settings, "temperature")
    if temperature != 1:
        loss = f"the loss on logits / {compact(temperature)}, not of the training loss"
        yield Notice(f"Gradients are those of {loss}.", "plain")


def build_tiles(audit: Audit) -> Iterator[Tile]:
    """Yield the numbers beside the two verdicts."""
    yield from _worst_class(audit)
    samples = audit.subject.samples
    if lists_suspects(audit):
        suspects = int(audit.samples["suspect"].sum())
        share = percent(suspects / max(samples, 1))
        yield Tile("Suspects", "suspects", count(suspects), f"{share} of the samples")
    elif judges_samples(audit):
        yield Tile("Suspects", "suspects", "–", "not listed: which labels are wrong cannot be told")


def _m_coherence(coherence: Coherence, samples: int) -> str:
    found = coherence.m_coherence
    # Without this, a reader takes the low values of any converged model for a defect.
    low = "; below 1, gradients cancel, as near convergence" if found.value < 1 else ""
    return f"{number(found.value)} of {count(samples)} ({interval(found)}){low}"


def _worst_class(audit: Audit) -> Iterator[Tile]:
    """Yield the class with the lowest accuracy to expect on new data."""
    gaps = [(one, one.predicted_gap) for one in audit.classes]
    expected = [
        (one.accuracy - gap.value, one.name)
        for one, gap in gaps
        # a class without samples has neither
        if one.accuracy is not None and not isinstance(gap, Skipped)
    ]
    if len(expected) > 1:
        lowest, name = min(expected)
        yield Tile(
            "Worst class",
            "expected accuracy of the worst class",
            percent(min(max(lowest, 0.0), 1.0)),
            f"{text(name, 24).short}: expected accuracy on new data",
        )


def _out_of_fold(crossfit: Crossfit) -> str:
    found = crossfit.accuracy
    between = f"{percent(found.low)} to {percent(found.high)}"
    copies = f"{crossfit.folds} copies, each on the fold that it was not trained on"
    return f"{percent(found.value)} ({between}), by {copies}"


def build_facts(audit: Audit) -> Iterator[tuple[str, Text]]:
    """Yield what was audited: name and value."""
    subject = audit.subject
    yield "Checkpoint", text(subject.checkpoint, 72)
    yield "Format", text(subject.checkpoint_format, 72)
    if subject.checkpoint_sha256:
        yield "SHA-256", text(subject.checkpoint_sha256, 20)
    if subject.earlier:
        yield "Earlier checkpoints", text(_with_hashes(subject.earlier), 200)
    yield "Model", text(subject.model, 72)
    yield "Data", text(subject.data, 72)
    yield "Data fingerprint", text(subject.data_fingerprint, 20)
    yield "Samples", text(f"{count(subject.samples)} in {plural(len(audit.classes), 'class')}")
    yield "Parameters", text(f"{count(subject.parameters)} in {plural(len(audit.layers), 'layer')}")
    sanity = audit.sanity
    yield "Training accuracy", text(f"{percent(sanity.accuracy)} (chance: {percent(sanity.chance)})")
    yield "Mean training loss", text(f"{number(sanity.mean_loss)} nats")
    if isinstance(audit.crossfit, Crossfit):
        yield "Cross-fit", text(format_crossfit(audit.crossfit), 300)
        yield "Out-of-fold accuracy", text(_out_of_fold(audit.crossfit), 300)
    if isinstance(audit.coherence, Coherence):
        yield "m-coherence", text(_m_coherence(audit.coherence, subject.samples), 200)


def _with_hashes(files: Mapping[str, str]) -> str:
    """Return paths, each with the start of its file's hash; audit.json has the whole hash."""
    return ", ".join(f"{path} ({sha256[:12]})" if sha256 else path for path, sha256 in files.items())
