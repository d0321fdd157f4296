"""The section on the hidden units."""

from __future__ import annotations

from statistics import median

from cohaudit.report.figures.audits.width import width_figure
from cohaudit.report.html.view._tables import Table, TableRow
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import count, number, percent, text
from cohaudit.results import CoherentWidth, LayerUnits


def build_width(found: CoherentWidth) -> AuditBody:
    """Return figure, tables and reading of how the coherent gradient spreads over the units."""
    spread = Table(
        "Where the coherent gradient is",
        ("Layer", "Width", "Participation", "Units that hold 90%", "Coherence"),
        tuple(map(_layer, found.layers)),
    )
    alone = tuple(
        (
            text(f"{one.share:.0%} of the energy"),
            (count(one.units), percent(one.accuracy), percent(one.random)),
        )
        for one in found.sub_networks
    )
    measured = Table(
        f"Training accuracy with only some units ({percent(found.accuracy)} with all {count(found.units)})",
        ("Units that hold", "Units", "Accuracy", "As many random units"),
        alone,
    )
    reading = (
        "A unit's coherent energy is what the gradients of samples of one class have in common at its "
        "weights. Participation is the share of the width that would hold all of it if each unit held the "
        "same. The accuracy is measured with the outputs of all other units set to zero, without "
        "retraining. Coherence is that of all pairs of samples at a unit: the median over the units, and "
        "the largest."
    )
    return AuditBody(
        width_figure(found), (spread, measured), reading, to_do="nothing to cut" not in found.advice
    )


def _layer(one: LayerUnits) -> TableRow:
    coherence = f"{number(median(one.coherence))} (largest {number(max(one.coherence))})"
    figures = (f"{count(len(one.energy))} {one.kind}", percent(one.participation), count(len(one.kept)))
    return text(one.name, 40), (*figures, coherence)
