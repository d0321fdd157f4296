"""How much of their width two networks use, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results import CoherentWidth, LayerUnits, Skipped
from cohaudit.results.sub_network import SUB_NETWORK_SHARES


@dataclass(frozen=True)
class UsedLayer:
    """How many of its units a hidden layer uses."""

    units: int
    """Number of units."""
    participation: float
    """1 when all units hold the same coherent energy, 1 / units when one unit holds all of it."""
    kept: int
    """Number of the fewest units that hold 90% of the energy."""


@dataclass(frozen=True)
class UsedWidth:
    """How many of its hidden units a network uses."""

    units: int
    """Number of hidden units."""
    kept: int
    """Number of units that hold 90% of each layer's energy."""
    participation: float
    """Mean over the layers, weighted by their number of units, in [0, 1]; 0 without a layer."""
    accuracy: float
    """Accuracy of the whole network on the training labels, in [0, 1]."""
    alone: float | None
    """Accuracy with the outputs of all other units set to zero, in [0, 1]; None when it was not measured."""
    random: float | None
    """The same with as many units drawn at random, in [0, 1]; None when it was not measured."""


@dataclass(frozen=True)
class LayerWidths:
    """One hidden layer in both networks."""

    name: str
    """Layer name."""
    base: UsedLayer | None
    """The layer in the base; None without a layer of this name."""
    head: UsedLayer | None
    """The layer in the head; None without a layer of this name."""


@dataclass(frozen=True)
class WidthChange:
    """Two networks, which can differ in width."""

    base: UsedWidth
    """Width of the base."""
    head: UsedWidth
    """Width of the head."""
    layers: tuple[LayerWidths, ...]
    """Layers of the head in its order, then those of the base alone."""


def compare_widths(base: CoherentWidth | Skipped, head: CoherentWidth | Skipped) -> WidthChange | None:
    """Compare the used widths of two networks; None when one of the audits did not measure it."""
    if isinstance(base, Skipped) or isinstance(head, Skipped):
        return None
    before = {layer.name: _used_layer(layer) for layer in base.layers}
    after = {layer.name: _used_layer(layer) for layer in head.layers}
    names = dict.fromkeys([*after, *before])
    layers = tuple(LayerWidths(name, before.get(name), after.get(name)) for name in names)
    return WidthChange(_used_width(base), _used_width(head), layers)


def _used_layer(layer: LayerUnits) -> UsedLayer:
    return UsedLayer(len(layer.energy), layer.participation, len(layer.kept))


def _used_width(width: CoherentWidth) -> UsedWidth:
    layers = [_used_layer(layer) for layer in width.layers]
    units = sum(layer.units for layer in layers)
    # the share of the units in `kept`, so that the accuracy is of these units
    measured = next((part for part in width.sub_networks if part.share == SUB_NETWORK_SHARES[0]), None)
    return UsedWidth(
        units=width.units,
        kept=sum(layer.kept for layer in layers),
        # without a hidden layer both sums are 0
        participation=sum(layer.units * layer.participation for layer in layers) / max(units, 1),
        accuracy=width.accuracy,
        alone=None if measured is None else measured.accuracy,
        random=None if measured is None else measured.random,
    )
