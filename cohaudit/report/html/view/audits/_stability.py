"""The section on the stability bound."""

from __future__ import annotations

from cohaudit.report.figures.audits.stability import stability_figure
from cohaudit.report.html.view._tables import Table, TableRow
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import count, number, text
from cohaudit.results import Skipped, Stability, StabilityTerm


def build_stability(found: Stability) -> AuditBody:
    """Return figure, table and reading of the bound on the gap in loss."""
    columns = ("To checkpoint", "Steps", "η", "α", "β", "L", "Adds", "Sum", "log₁₀ bound", "Measured")
    reading = (
        "The gap in loss is at most (L² / m) Σ Π (1 + ηβ) η √(2 (1 − α)), for full-batch gradient descent "
        "on an L-Lipschitz and β-smooth loss. Here L is the largest gradient norm seen, and β the change "
        "of the mean gradient over the change of the weights between two checkpoints; both are lower "
        "estimates. α, β and η are taken as constant between checkpoints. Sum leaves out the growth Π (1 + "
        "ηβ). The bound never falls; where α is high, steps add little."
    )
    table = Table("Terms of the bound", columns, tuple(map(_term, found.terms)))
    return AuditBody(stability_figure(found), (table,), reading)


def _term(one: StabilityTerm) -> TableRow:
    factors = (one.rate, one.alpha, one.smoothness, one.lipschitz, one.adds, one.total, one.log10_bound)
    measured = "–" if isinstance(one.measured, Skipped) else number(one.measured)
    return text(one.checkpoint, 40), (count(one.steps), *map(number, factors), measured)
