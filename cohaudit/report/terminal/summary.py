"""The audit on one screen of a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cohaudit.errors import printable, without_padding
from cohaudit.report.limits import MAX_CAUSES
from cohaudit.report.terminal.next_step import NextStep
from cohaudit.report.words import number, percent
from cohaudit.results import (
    Audit,
    Coherence,
    GateResult,
    Holdout,
    Layer,
    Skipped,
    by_gap,
    format_points,
)
from cohaudit.results.gap import format_crossfit
from cohaudit.review.verdicts import (
    Verdict,
    VerdictLevel,
    generalization_verdict,
    label_verdict,
)

MAX_LAYERS = 5
"""Layers shown at most: like all limits here, chosen so that the summary fits a screen of 42 lines."""
MAX_CLASS_ROWS = 5
"""Classes shown at most."""
MAX_SUSPECT_ROWS = 4
"""Suspects, and suppressed samples, shown at most."""
MAX_SKIPPED = 2
"""Skipped items shown at most."""
MAX_EARLIER_CHECKPOINTS = 6
"""Earlier checkpoints named at most, the latest ones."""
MAX_SUMMARY_SENTENCE = 240
"""Characters of a sentence shown before it is cut; the report has it whole."""
MAX_VERDICT_REASON = 700
"""The same for the reason why there is no verdict or a gate failed: it ends with what to do about it."""

LEVEL_STYLES: Mapping[VerdictLevel, str] = {
    "none": "bold",
    "low": "bold green",
    "unclear": "bold yellow",
    "moderate": "bold yellow",
    "high": "bold red",
    "severe": "bold white on red",
}
"""Level of a verdict → style of rich."""

OUTCOME_TEXTS = {
    "failed": Text("FAILED", "bold red"),
    "warned": Text("warned", "bold yellow"),
    "passed": Text("passed", "green"),
}
"""Outcome of a gate → as the table writes it."""


def render_summary(
    audit: Audit,
    files: Sequence[Path],
    stream: IO[str],
    notes: Sequence[str] = (),
    then: NextStep | None = None,
) -> str:
    """Return the most important results of an audit, and where the rest is, as text.

    Args:
        audit: Result of a scan.
        files: Files that were written, the most readable first.
        stream: Where the text will go: a terminal gets colors (unless NO_COLOR is set) and its own width.
        notes: What was found about the inputs, each as 'Word: …'.
        then: What to do next, for the last lines.

    Returns:
        The text to write.
    """
    # Rich decides on colors and width by the stream, but the caller writes the text.
    console = Console(file=stream)
    with console.capture() as captured:
        # highlight: rich would color every number and path that it recognizes
        console.print(summary(audit, files, notes), highlight=False)
        if then is not None:
            console.print(_line("Next", [f"{then.words}:"]), highlight=False)
    # not by rich, which would break a long line: a command is copied as a whole
    command = f"  {printable(then.command)}\n" if then is not None else ""
    return without_padding(captured.get()) + command


def summary(audit: Audit, files: Sequence[Path], notes: Sequence[str] = ()) -> Group:
    """Return the summary for rich to lay out; the arguments are those of `render_summary`."""
    parts: list[RenderableType] = [
        _heading(audit),
        *_earlier(audit),
        *(_note(note) for note in notes),
        "",
        *_verdicts(audit),
        *_causes(audit),
        *_holdout(audit),
        *_crossfit(audit),
        _sanity(audit),
        *(_notice(notice) for notice in audit.notices),
        "",
        *(_findings(audit) if audit.sanity.auditable else []),
        *_optional_audits(audit),
        _certificate(audit),
        *_skipped(audit),
        *_gates(audit),
        *_written(files),
    ]
    return Group(*parts)


def _heading(audit: Audit) -> Text:
    subject = audit.subject
    total = "" if subject.samples == subject.samples_total else f" of {subject.samples_total:,}"
    return Text.assemble(
        (printable(subject.checkpoint, 60), "bold"),
        f" on {subject.samples:,}{total} samples of {printable(subject.data, 60)} (cohaudit {audit.version})",
    )


def _earlier(audit: Audit) -> list[Text]:
    paths = [printable(path, 60) for path in audit.subject.earlier]
    more = (
        [f"and {len(paths) - MAX_EARLIER_CHECKPOINTS} more"] if len(paths) > MAX_EARLIER_CHECKPOINTS else []
    )
    return [_line("Earlier checkpoints used", [*paths[-MAX_EARLIER_CHECKPOINTS:], *more])] if paths else []


def _note(note: str) -> Text:
    word, _, rest = note.partition(": ")
    return _line(word, [_sentence(rest)])


def _verdicts(audit: Audit) -> list[Text]:
    """Return both verdicts, or that there is none."""
    if not audit.sanity.auditable:
        reason = printable(audit.sanity.reason, MAX_VERDICT_REASON)
        return [Text.assemble(("NOT AUDITABLE", "bold white on red"), f": {reason}")]
    return [
        _verdict("Labels", label_verdict(audit)),
        _verdict("Generalization", generalization_verdict(audit)),
    ]


def _verdict(name: str, verdict: Verdict) -> Text:
    level = "" if verdict.level == "none" else f"{verdict.level.upper()}. "
    words = printable(f"{verdict.headline}. {verdict.sentence}", MAX_VERDICT_REASON)
    return Text.assemble((f"{name}: ", "bold"), (level, LEVEL_STYLES[verdict.level]), words)


def _holdout(audit: Audit) -> list[Text]:
    """Return what was measured on the holdout."""
    if isinstance(audit.risk, Skipped):
        return []
    holdout = audit.risk.holdout
    if isinstance(holdout, Skipped):
        return []  # a holdout that could not be measured is among the skipped items
    parts = [
        f"accuracy {percent(holdout.accuracy)} on {holdout.samples:,} samples",
        f"measured gap {format_points(holdout.gap)} to its labels as given",
        *_right_gap(holdout),
        f"predicted gap {format_points(audit.risk.predicted)} to right labels",
        f"αᵤ {number(holdout.across)} from training to holdout",
        f"αᵤ {number(holdout.within)} within the training data",
    ]
    return [_line("Holdout", parts)]


def _right_gap(holdout: Holdout) -> list[str]:
    if isinstance(holdout.right_gap, Skipped):
        return []
    return [f"about {format_points(holdout.right_gap)} to its right labels"]


def _crossfit(audit: Audit) -> list[Text]:
    """Return what copies of the network predict for samples that they were not trained on."""
    crossfit = audit.crossfit
    if isinstance(crossfit, Skipped):
        return []
    found = crossfit.accuracy
    parts = [
        f"out-of-fold accuracy {percent(found.value)} ({percent(found.low)} to {percent(found.high)})",
        format_crossfit(crossfit),
    ]
    return [_line("Cross-fit", parts)]


def _causes(audit: Audit) -> list[Table]:
    if isinstance(audit.risk, Skipped):
        return []
    grid = Table.grid(padding=(0, 1))
    for driver in audit.risk.drivers[:MAX_CAUSES]:
        grid.add_row("  -", Text(_sentence(driver.reason)))
    if not audit.risk.drivers:
        grid.add_row("  -", Text(_sentence(audit.risk.terms[0].reason)))
    return [grid]


def _sanity(audit: Audit) -> Text:
    sanity = audit.sanity
    parts = [
        f"accuracy {percent(sanity.accuracy)}",
        f"balanced {percent(sanity.balanced_accuracy)}",
        f"chance {percent(sanity.chance)}",
        f"loss {number(sanity.mean_loss)}",
    ]
    return _line("Training data", parts)


def _notice(notice: str) -> Text:
    # not cut: a reader must know all of it before the numbers
    return Text.assemble(("Note: ", "bold yellow"), printable(notice))


def _findings(audit: Audit) -> list[RenderableType]:
    # Columns puts the tables below each other where the terminal is narrow
    tables = Columns([_layers(audit.layers), *_classes(audit)], padding=(0, 3))
    return [*_suspects(audit), *_suppressed(audit), "", tables, ""]


def _layers(layers: Sequence[Layer]) -> Table:
    """Return the table of the layers with the largest gradients, in the model's order."""
    # Layers with the largest gradients matter most; they are then listed in the model's order.
    shown = sorted(range(len(layers)), key=lambda i: layers[i].energy, reverse=True)[:MAX_LAYERS]
    table = _table("Layer", "m-coherence", "αᵤ")
    for i in sorted(shown):
        table.add_row(cell(layers[i].name), *_coherence(layers[i].coherence))
    return with_rest(table, len(layers) - len(shown))


def _classes(audit: Audit) -> list[Table]:
    """Return the table of the classes with the largest gaps."""
    table = _table("Class", "samples", "suspects", "gap", "αᵤ")
    for one in by_gap(audit.classes)[:MAX_CLASS_ROWS]:
        gap = "–" if isinstance(one.predicted_gap, Skipped) else f"{100 * one.predicted_gap.value:.0f}"
        numbers = (f"{one.samples:,}", f"{one.suspects:,}", gap, _coherence(one.coherence)[1])
        table.add_row(cell(one.name), *numbers)
    return [with_rest(table, len(audit.classes) - MAX_CLASS_ROWS)]


def _suspects(audit: Audit) -> list[RenderableType]:
    """Return the table of the first suspects, or of what to look at first without one."""
    if audit.labels_not_judged:
        return []
    suspects = audit.suspects
    listed = suspects
    if suspects.empty:
        # labels can be wrong all the same, such as the rest of those that were corrected
        if label_verdict(audit).level == "low":
            return []
        listed = audit.ranked_samples().head(MAX_SUSPECT_ROWS)
    top = listed.head(MAX_SUSPECT_ROWS)
    table = _table("Look at first" if suspects.empty else "Sample", "given", "suggested", "suspicion")
    for row in top.to_dict("records"):
        names = (cell(str(row[column])) for column in ("id", "label", "suggested"))
        table.add_row(*names, f"{row['suspicion']:.2f}")
    return [with_rest(table, len(listed) - len(top))]


def _suppressed(audit: Audit) -> list[RenderableType]:
    """Return the suppressed samples, each with its reviewer and reason."""
    if not audit.suppressed:
        return []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Suppressed", "label", "by", "reason", "until"):
        table.add_column(name, overflow="fold")
    for entry in audit.suppressed[:MAX_SUSPECT_ROWS]:
        texts = (entry.id, entry.label, entry.reviewer, entry.reason, entry.expires or "no expiry")
        table.add_row(*map(cell, texts))
    return [with_rest(table, len(audit.suppressed) - MAX_SUSPECT_ROWS)]


def _optional_audits(audit: Audit) -> list[Text]:
    """Name the optional audits that were run."""
    names = [f.name for f in fields(audit.audits) if not isinstance(getattr(audit.audits, f.name), Skipped)]
    return [_line("Audits", names)] if names else []


def _certificate(audit: Audit) -> Text:
    certificate = audit.certificate
    error = max((check.error for check in certificate.checks), default=math.nan)
    parts = [
        f"{certificate.samples} samples recomputed with plain autograd",
        f"largest relative error {number(error)}",
        f"{percent(certificate.parameter_coverage)} of the parameters measured",
    ]
    if audit.gradients.samples < audit.subject.samples:
        parts.append(audit.gradients.in_words(audit.subject.samples))
    return _line("Certificate", parts)


def _skipped(audit: Audit) -> list[Text]:
    lines = [
        _line("Skipped", [_sentence(f"{item.name}: {item.reason}")]) for item in audit.skipped[:MAX_SKIPPED]
    ]
    rest = len(audit.skipped) - len(lines)
    return [*lines, *([_line("Skipped", [f"{rest} more in the report"])] if rest else [])]


def _gates(audit: Audit) -> list[RenderableType]:
    return ["", gate_table(audit.gates), ""] if audit.gates else []


def gate_table(gates: Sequence[GateResult]) -> Table:
    """Return a table of gates, each with its outcome and reason."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    # fold: an expression has no space to break at, and rich would cut it
    for name in ("Gate", "", "reason"):
        table.add_column(name, overflow="fold")
    for gate in gates:
        table.add_row(
            cell(gate.expression),
            OUTCOME_TEXTS[gate.outcome],
            Text(printable(gate.reason, MAX_VERDICT_REASON)),
        )
    return table


def _written(files: Sequence[Path]) -> list[Text]:
    if not files:
        return []
    beside = f" (beside it: {', '.join(path.name for path in files[1:])})" if files[1:] else ""
    return [_line("Report", [f"{files[0]}{beside}"])]


def _table(name: str, *numbers: str) -> Table:
    """Return a table without rules: a name, cut if too long, then figures, which are never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=24)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True, overflow="ellipsis", max_width=20)
    return table


def with_rest(table: Table, rest: int) -> Table:
    """Return the table with a row that says how many more there are, if any."""
    if rest > 0:
        table.add_row(Text(f"and {rest:,} more", "dim"))
    return table


def _coherence(coherence: Coherence | Skipped) -> tuple[str, str]:
    if isinstance(coherence, Skipped):
        return "–", "–"
    # fixed decimals: columns stay aligned, and narrow enough for two tables side by side
    return _decimals(coherence.m_coherence.value, 1), _decimals(coherence.pairwise.value, 4)


def _decimals(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace("-", "\u2212") if math.isfinite(value) else "–"


def _line(name: str, parts: Iterable[str]) -> Text:
    return Text.assemble((f"{name}: ", "bold"), ", ".join(printable(part) for part in parts))


def cell(text: str) -> Text:
    """Return a name for a cell of a table."""
    # Text, not str: in a str, rich reads [red] or [link=…] as markup
    return Text(printable(text, 60))


def _sentence(text: str) -> str:
    return printable(text, MAX_SUMMARY_SENTENCE)
