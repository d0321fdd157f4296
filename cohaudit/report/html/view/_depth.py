"""The depth profile: the layers from the input to the output."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from cohaudit.report.figures.distributions import depth_profile
from cohaudit.report.html.view._tables import first_and_last
from cohaudit.report.words import Text, count, interval, named, number, percent, prose, text
from cohaudit.results import Audit, Coherence, Layer


@dataclass(frozen=True)
class LayerRow:
    """One layer in the table."""

    number: int
    """Place in the network, from 1."""
    name: Text
    kind: Text
    parameters: str
    energy: str
    bar: str
    """The energy as a CSS percentage."""
    gradient_norm: str
    path: str
    """How its per-sample gradients were computed."""
    coherence: str
    interval: str
    m_coherence: str
    skipped: str
    """Why its coherence is missing; empty when it is not."""


@dataclass(frozen=True)
class Depth:
    """The section on the layers."""

    figure: Markup
    finding: str
    """What stands out, in one sentence; empty when no layer was measured."""
    rows: tuple[LayerRow, ...]
    rows_note: str
    """Which rows are left out; empty when none is."""


def build_depth(audit: Audit) -> Depth:
    """Return the section on the layers."""
    rows = tuple(_row(i, layer) for i, layer in enumerate(audit.layers, 1))
    finding = _finding(audit.layers)
    shown, note = first_and_last(rows)
    return Depth(depth_profile(audit.layers, finding), finding, shown, note)


def _row(position: int, layer: Layer) -> LayerRow:
    measured = layer.coherence if isinstance(layer.coherence, Coherence) else None
    return LayerRow(
        number=position,
        name=text(layer.name, 40),
        kind=text(layer.kind, 24),
        parameters=count(layer.parameters),
        energy=percent(layer.energy),
        bar=f"{layer.energy:.1%}",
        gradient_norm=number(layer.gradient_norm),
        path=layer.path,
        coherence=number(measured.pairwise.value) if measured else "",
        interval=interval(measured.pairwise) if measured else "",
        m_coherence=number(measured.m_coherence.value) if measured else "",
        skipped="" if isinstance(layer.coherence, Coherence) else prose(layer.coherence.reason),
    )


def _finding(layers: tuple[Layer, ...]) -> str:
    measured = [
        (layer.coherence.pairwise.value, layer.name)
        for layer in layers
        if isinstance(layer.coherence, Coherence)
    ]
    if not measured:
        return ""
    # Coherence alone could point at a layer that hardly has a gradient.
    main = max(layers, key=lambda layer: layer.energy)
    energy = f"{named(main.name)} carries {percent(main.energy)} of the gradient energy."
    if len(measured) == 1:
        return energy
    least, most = (f"{named(name)} ({number(value)})" for value, name in (min(measured), max(measured)))
    return f"Samples agree most in {most} and least in {least}; {energy}"
