"""The difference of two audits on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cohaudit.errors import printable, without_padding
from cohaudit.report.terminal.summary import cell, with_rest
from cohaudit.report.words import percent
from cohaudit.results import Estimate
from cohaudit.review.diff.difference import ComparedAudit, Difference, EstimateChange
from cohaudit.review.diff.suspects import ComparedSuspect
from cohaudit.review.diff.width import UsedLayer, WidthChange

MAX_CHANGE_ROWS = 8
"""Suspects, layers or classes shown at most; the page and --json have all."""

HEADLINES = {
    "worse": "bold white on red",
    "better": "bold green",
    "fewer suspects": "bold green",
    "no clear change": "bold",
    "nothing to compare": "bold yellow",
}
"""Headline → style of rich."""


def render_difference_summary(difference: Difference, stream: IO[str]) -> str:
    """Return the most important changes as text.

    Args:
        difference: Difference of two audits.
        stream: Where the text will go: a terminal gets colors (unless NO_COLOR is set) and its own width.

    Returns:
        The text to write.
    """
    console = Console(file=stream)
    with console.capture() as captured:
        # highlight: rich would color every number and path that it recognizes
        console.print(difference_summary(difference), highlight=False)
    return without_padding(captured.get())


def difference_summary(difference: Difference) -> Group:
    """Return the summary for rich to lay out."""
    parts: list[RenderableType] = [
        _heading(difference),
        *(Text.assemble(("Differs: ", "bold yellow"), printable(one, 240)) for one in difference.unlike),
        "",
        Text(difference.headline.upper(), HEADLINES[difference.headline]),
        *(Text(f"  - {printable(one, 240)}") for one in (*difference.regressions, *difference.improvements)),
        *([Text(difference.ranking.reason)] if difference.ranking else []),
        "",
        _whole(difference),
        *_samples(difference),
        *_suspects(difference),
        *_layers(difference),
        *_classes(difference),
        *(_width(difference.width) if difference.width else []),
    ]
    return Group(*parts)


def _heading(difference: Difference) -> Text:
    base, head = (printable(side.checkpoint, 60) for side in (difference.base, difference.head))
    return Text.assemble((head, "bold"), " compared with ", (base, "bold"))


def _whole(difference: Difference) -> Table:
    base = difference.base
    head = difference.head
    table = _table("", "base", "head", "")
    table.add_row("Score on new data, %", *_both(difference.score, 100, 1), _outcome(difference.score))
    table.add_row(
        "Wrong labels, %", *_both(difference.wrong_labels, 100, 1), _outcome(difference.wrong_labels)
    )
    table.add_row("Gap in points", *_both(difference.gap, 100, 1), "")
    table.add_row("Risk of overfitting", *(_level(side) for side in (base, head)), "")
    table.add_row("Training accuracy", percent(base.accuracy), percent(head.accuracy), "")
    table.add_row("Suspects", *(_count(side.suspects) for side in (base, head)), "")
    table.add_row("Samples", f"{base.samples:,}", f"{head.samples:,}", "")
    table.add_row("Parameters", f"{base.parameters:,}", f"{head.parameters:,}", "")
    return table


def _samples(difference: Difference) -> list[RenderableType]:
    found = difference.samples
    unchanged = found.both == difference.head.samples == difference.base.samples
    # the table above has said that there are as many, and none of them changed
    if unchanged and not (found.relabeled or found.renamed or found.moved or found.edited):
        return []
    return ["", _line("Samples", found.words)]


def _suspects(difference: Difference) -> list[RenderableType]:
    found = difference.suspects
    if found is None:
        return ["", _line("Suspects", "not compared: one of the audits judged no samples")]
    by_id = f" ({found.unhashed:,} without a hash, matched by id only)" if found.unhashed else ""
    counts = f"{len(found.new):,} new, {len(found.fixed):,} fixed, {len(found.still):,} remaining{by_id}"
    parts: list[RenderableType] = ["", _line("Suspects", counts)]
    for title, other, suspects in (
        ("New suspect", "in the base", found.new),
        ("Fixed", "in the head", found.fixed),
    ):
        if suspects:
            parts.append(_listed(title, other, suspects))
    return parts


def _listed(title: str, other: str, suspects: Sequence[ComparedSuspect]) -> Table:
    table = _table(title, "suspicion", other, texts=("given", "suggested"), widest=22)
    for one in suspects[:MAX_CHANGE_ROWS]:
        names = (cell(name) for name in (one.id, one.label, one.suggested))
        table.add_row(*names, f"{one.suspicion:.2f}", one.elsewhere)
    return with_rest(table, len(suspects) - MAX_CHANGE_ROWS)


def _layers(difference: Difference) -> list[RenderableType]:
    changed = [one for one in difference.layers if one.coherence.outcome in {"higher", "lower"}]
    alone = [one for one in difference.layers if one.only_in]
    summary = f"clear change of αᵤ in {len(changed):,} of {len(difference.layers) - len(alone):,}"
    parts: list[RenderableType] = ["", _line("Layers", summary)]
    if changed:
        table = _table("Layer", "αᵤ base", "head", "")
        for one in changed[:MAX_CHANGE_ROWS]:
            table.add_row(cell(one.name), *_both(one.coherence, 1, 4), _outcome(one.coherence))
        parts.append(with_rest(table, len(changed) - MAX_CHANGE_ROWS))
    return [*parts, *_alone([(one.name, one.only_in) for one in alone])]


def _classes(difference: Difference) -> list[RenderableType]:
    shared = [one for one in difference.classes if not one.only_in]
    changed = [
        one
        for one in shared
        if {one.gap.outcome, one.coherence.outcome} & {"higher", "lower"}
        or one.base_suspects != one.head_suspects
    ]
    summary = (
        f"{len(changed):,} of {len(shared):,} with another number of suspects, or a clear change of gap or αᵤ"
    )
    parts: list[RenderableType] = ["", _line("Classes", summary)]
    if changed:
        table = _table("Class", "suspects", "gap in points", "αᵤ")
        for one in changed[:MAX_CHANGE_ROWS]:
            suspects = f"{_count(one.base_suspects)} → {_count(one.head_suspects)}"
            gap = _arrow(one.gap, 100, 0)
            coherence = _arrow(one.coherence, 1, 4)
            table.add_row(cell(one.name), suspects, gap, coherence)
        parts.append(with_rest(table, len(changed) - MAX_CHANGE_ROWS))
    return [*parts, *_alone([(one.name, one.only_in) for one in difference.classes if one.only_in])]


def _width(width: WidthChange) -> list[RenderableType]:
    base = width.base
    head = width.head
    table = _table("Hidden units", "base", "head")
    table.add_row("all", f"{base.units:,}", f"{head.units:,}")
    table.add_row("holding 90% of the energy", _part(base.kept, base.units), _part(head.kept, head.units))
    table.add_row("participation", f"{base.participation:.2f}", f"{head.participation:.2f}")
    table.add_row("accuracy with all", percent(base.accuracy), percent(head.accuracy))
    table.add_row("accuracy with these only", _share(base.alone), _share(head.alone))
    table.add_row("accuracy with as many random ones", _share(base.random), _share(head.random))
    layers = _table("Layer", "units holding 90%", "participation")
    for one in width.layers[:MAX_CHANGE_ROWS]:
        sides = (one.base, one.head)
        used = ("–" if side is None else f"{side.participation:.2f}" for side in sides)
        layers.add_row(cell(one.name), " → ".join(map(_kept, sides)), " → ".join(used))
    return ["", table, "", with_rest(layers, len(width.layers) - MAX_CHANGE_ROWS)]


def _table(name: str, *numbers: str, texts: Sequence[str] = (), widest: int = 28) -> Table:
    """Return a table without rules: names, cut if too long, then figures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=widest)
    for column in texts:
        table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=14)
    for column in numbers:
        # min_width: the heading of a number stays whole
        table.add_column(column, justify="right", no_wrap=True, overflow="ellipsis", min_width=len(column))
    return table


def _alone(named: Sequence[tuple[str, str]]) -> list[Text]:
    """Name what only one audit has."""
    lines = []
    for where in ("base", "head"):
        names = [printable(name, 60) for name, only_in in named if only_in == where]
        more = [f"and {len(names) - MAX_CHANGE_ROWS:,} more"] if len(names) > MAX_CHANGE_ROWS else []
        if names:
            lines.append(_line(f"Only in the {where}", ", ".join([*names[:MAX_CHANGE_ROWS], *more])))
    return lines


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"{name}: ", "bold"), words)


def _level(side: ComparedAudit) -> str:
    return side.level or "no verdict"


def _outcome(change: EstimateChange) -> str:
    return {"alike": "not clear", "unknown": "not measured in both"}.get(change.outcome, change.outcome)


def _both(change: EstimateChange, times: float, digits: int) -> tuple[str, str]:
    return _estimate(change.base, times, digits), _estimate(change.head, times, digits)


def _estimate(found: Estimate | None, times: float, digits: int) -> str:
    if found is None:
        return "–"
    value, low, high = (f"{times * one:.{digits}f}" for one in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _arrow(change: EstimateChange, times: float, digits: int) -> str:
    """Write both values without their intervals, and the change if it is clear."""
    base, head = (
        "–" if one is None else f"{times * one.value:.{digits}f}" for one in (change.base, change.head)
    )
    return f"{base} → {head}{f' {change.outcome}' if change.outcome in {'higher', 'lower'} else ''}"


def _count(many: int | None) -> str:
    return "–" if many is None else f"{many:,}"


def _share(found: float | None) -> str:
    return "–" if found is None else percent(found)


def _part(some: int, total: int) -> str:
    return f"{some:,} ({some / max(total, 1):.0%})"


def _kept(layer: UsedLayer | None) -> str:
    return "–" if layer is None else f"{layer.kept:,} of {layer.units:,}"
