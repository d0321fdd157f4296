"""The section on weight decay."""

from __future__ import annotations

from cohaudit.report.figures.audits.decay import decay_figure
from cohaudit.report.html.view._tables import Table, TableRow
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import number, percent, text
from cohaudit.results import BackgroundForce, LayerDecay, Skipped


def build_decay(found: BackgroundForce) -> AuditBody:
    """Return figure, table and reading of decay against the data's gradients."""
    columns = ("Layer", "Coherent", "L2: ‖λw‖ / ‖μ‖", "Decay wins", "L1: ‖λ sign w‖ / ‖μ‖", "Decay wins")
    title = f"Decay against the data at λ = {number(found.l2_at)} (L1: {number(found.l1_at)})"
    reading = (
        "A weight is coherent when its mean gradient over the samples, μ, exceeds what chance gives. Decay "
        "pulls a weight w with the force λw (L2) or λ (L1), and wins where that exceeds |μ|. At the λ of "
        f"the table, decay wins over {percent(found.lost_incoherent)} of the incoherent and "
        f"{percent(found.lost_coherent)} of the coherent weights. Between λ = {number(found.l2.low)} and "
        f"{number(found.l2.high)} (L1: {number(found.l1.low)} and {number(found.l1.high)}) it wins over "
        "more than half of the incoherent and less than half of the coherent ones. The gradients are those "
        "of this checkpoint: once a network fits its samples, they are small and so is this range; after "
        "long training with a decay, the range follows it."
    )
    table = Table(title, columns, tuple(map(_layer, found.layers)))
    return AuditBody(decay_figure(found), (table,), reading, _is_outside(found))


def _is_outside(found: BackgroundForce) -> bool:
    """Return whether the trained decay is known to lie outside the range that separates the weights."""
    trained = found.trained
    if isinstance(trained, Skipped) or trained.decoupled or found.l2.low >= found.l2.high:
        return False
    return not found.l2.low <= trained.value <= found.l2.high


def _layer(one: LayerDecay) -> TableRow:
    l2 = (number(one.ratio), percent(one.lost))
    l1 = (number(one.l1_ratio), percent(one.l1_lost))
    return text(one.name, 40), (percent(one.coherent), *l2, *l1)
