"""How much of the width two networks use, side by side; part of `diff`."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.audits.width import SHARES
from cohaudit.results import CoherentWidth, LayerUnits, Skipped


@dataclass(frozen=True)
class UsedLayer:
    """What a hidden layer uses of its units."""

    units: int
    """All of them."""
    participation: float
    """1 if all units hold the same coherent energy, 1 / units if one holds all of it."""
    kept: int
    """The fewest units that hold nine tenths of the energy."""


@dataclass(frozen=True)
class UsedWidth:
    """What a network uses of its hidden units."""

    units: int
    """All of them."""
    kept: int
    """Those that hold nine tenths of each layer's energy."""
    participation: float
    """Mean over the layers, each weighing as much as it has units; 0 without a layer."""
    accuracy: float
    """Of the whole network, on the training labels."""
    alone: float | None
    """With the outputs of all other units zeroed; None where that was not tried."""
    random: float | None
    """The same with as many units drawn at random."""


@dataclass(frozen=True)
class LayerWidths:
    """One hidden layer in both networks; None where one has none of the name."""

    name: str
    """Of the layer."""
    base: UsedLayer | None
    """There."""
    head: UsedLayer | None
    """Here."""


@dataclass(frozen=True)
class WidthChange:
    """Two networks, maybe of different width."""

    base: UsedWidth
    """There."""
    head: UsedWidth
    """Here."""
    layers: tuple[LayerWidths, ...]
    """Those of the head in its order, then those of the base alone."""


def compare_widths(base: CoherentWidth | Skipped, head: CoherentWidth | Skipped) -> WidthChange | None:
    """Put the further audits of the width side by side; None where one of them was not run."""
    if isinstance(base, Skipped) or isinstance(head, Skipped):
        return None
    before, after = ({one.name: _layer(one) for one in width.layers} for width in (base, head))
    names = dict.fromkeys([*after, *before])
    layers = tuple(LayerWidths(name, before.get(name), after.get(name)) for name in names)
    return WidthChange(_width(base), _width(head), layers)


def _layer(one: LayerUnits) -> UsedLayer:
    return UsedLayer(len(one.energy), one.participation, len(one.kept))


def _width(one: CoherentWidth) -> UsedWidth:
    layers = [_layer(layer) for layer in one.layers]
    units = sum(layer.units for layer in layers)
    mean = sum(layer.units * layer.participation for layer in layers) / max(units, 1)
    kept = sum(layer.kept for layer in layers)
    tried = next((some for some in one.sub_networks if some.share == SHARES[0]), None)
    alone, random = (tried.accuracy, tried.random) if tried else (None, None)
    return UsedWidth(one.units, kept, mean, one.accuracy, alone, random)
