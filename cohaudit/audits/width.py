"""How much of a layer's width carries what the samples share: the coherent sub-network.

A unit is a row of a layer's weight with its entry of the bias; an attention head is the rows of its queries,
keys and values. Two quantities describe a unit, from exact sums over the samples:

- its pairwise coherence α_u = (‖Σg_i‖² − Σ‖g_i‖²) / ((m − 1) Σ‖g_i‖²), see `coherence`;
- its coherent energy, what pairs of samples of one class have in common: e = Σ_c (‖Σ_{i∈c} g_i‖² −
  Σ_{i∈c} ‖g_i‖²), or 0 if that is no more than chance gives.

Chance: with a random sign for each sample, a class's sum of gradients along one direction is about normal, so
that 1 + e / Σ‖g_i‖² is a mean of squares of at least as many normal numbers as there are classes. Its 95 %
quantile is at most that of χ²_C / C. Were all positive energies counted, 24 of 64 units of pure noise would
hold 90 % of the energy.

Pairs within the classes only, because the classes' sums cancel in a nearly trained network: all pairs
together would choose units at random, or worse (docs/width.md has the figures). The participation ratio (Σe)²
/ Σe² over the units counts how many hold the energy. That wider networks are more coherent, having more sub-
networks to choose from, is a claim of Chatterjee (ICLR 2020, arXiv 2002.10657). Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from cohaudit.results import CoherentWidth, LayerUnits, Skipped, SubNetwork
from cohaudit.results.sub_network import SUB_NETWORK_SHARES, smallest_set
from cohaudit.results.wording import percent

Array = NDArray[np.float64]

CHANCE = 0.05
"""Probability that a unit whose samples have nothing in common counts as coherent, at most about this."""

ACCURACY_TOLERANCE = 0.01
"""Loss of training accuracy up to which a sub-network counts as good as the whole network."""

MIN_CUT_SHARE = 0.05
"""Share of the units below which removing them is not worth recommending."""


def unit_coherence(sum_squares: Array, squares: Array, samples: int) -> Array:
    """Return α_u of each unit, [units]; 0 for one without a gradient.

    Args:
        sum_squares: ‖Σ_i g_i‖² of each unit, [units].
        squares: Σ_i ‖g_i‖² of each unit, [units].
        samples: m, at least 2.
    """
    live = squares > 0
    coherence: Array = np.divide(
        sum_squares - squares, (samples - 1) * squares, out=np.zeros_like(squares), where=live
    )
    return coherence


def coherent_energy(class_squares: Array, squares: Array, classes: float) -> Array:
    """Return the coherent energy of each unit, [units]; 0 if chance explains it.

    Units share activations and rise above chance together: where the whole layer does not, no unit counts.

    Args:
        class_squares: Σ_c ‖Σ_{i∈c} g_i‖² of each unit, [units].
        squares: Σ_i ‖g_i‖² of each unit, [units].
        classes: Effective number of classes, at least 1.
    """
    most = float(chdtri(classes, CHANCE)) / classes
    coherent = class_squares > most * squares
    if class_squares.sum() <= most * squares.sum():
        return np.zeros_like(squares)
    return np.where(coherent, class_squares - squares, 0.0)


def participation(energy: Array) -> float:
    """Return (Σe)² / (units · Σe²), between 1 / units and 1; 0 without any energy."""
    largest = float(energy.max(initial=0))
    if not largest:
        return 0.0
    # relative to the largest: squares of tiny energies would vanish
    relative = energy / largest
    return float(relative.sum() ** 2 / (len(energy) * np.square(relative).sum()))


def layer_units(
    name: str,
    kind: str,
    *,
    sum_squares: Array,
    class_squares: Array,
    squares: Array,
    samples: int,
    classes: float,
) -> LayerUnits:
    """Return coherence and energy of one layer's units.

    Args:
        name: Layer name.
        kind: Kind of unit: units, channels or heads.
        sum_squares: ‖Σ_i g_i‖² of each unit, [units].
        class_squares: Σ_c ‖Σ_{i∈c} g_i‖² of each unit, [units].
        squares: Σ_i ‖g_i‖² of each unit, [units].
        samples: m, at least 2.
        classes: Effective number of classes, at least 1.
    """
    energy = coherent_energy(class_squares, squares, classes)
    total = float(energy.sum()) or 1.0
    coherence = unit_coherence(sum_squares, squares, samples)
    return LayerUnits(
        name=name,
        kind=kind,
        coherence=tuple(round(one, 6) for one in coherence.tolist()),
        energy=tuple((energy / total).tolist()),
        participation=participation(energy),
        # by the energies as saved: a mask that is exported later must name the same units
        kept=tuple(smallest_set(energy / total, SUB_NETWORK_SHARES[0]).tolist()),
    )


def coherent_width(
    layers: Sequence[LayerUnits], accuracy: float, sub_networks: Sequence[SubNetwork]
) -> CoherentWidth | Skipped:
    """Return the result of the width audit.

    Args:
        layers: Units of the hidden layers.
        accuracy: Training accuracy of the whole network.
        sub_networks: Accuracies with some units alone, for each of `SUB_NETWORK_SHARES`.
    """
    if not layers:
        return Skipped(
            "width", "no hidden linear, convolutional or attention layer has weights that no other layer uses"
        )
    if not any(sum(layer.energy) for layer in layers):
        reason = "no unit has more gradient in common among the samples of a class than chance gives"
        return Skipped("width", reason)
    units = sum(len(layer.energy) for layer in layers)
    advice = _advice(units, accuracy, sub_networks)
    return CoherentWidth(tuple(layers), units, accuracy, tuple(sub_networks), advice)


def _advice(units: int, accuracy: float, sub_networks: Sequence[SubNetwork]) -> str:
    """Return whether units can be removed."""
    # smallest share of the energy first: the fewest units that are good enough
    good = [one for one in sub_networks if one.accuracy >= accuracy - ACCURACY_TOLERANCE]
    if not good or good[0].units > (1 - MIN_CUT_SHARE) * units:
        smallest = sub_networks[0]
        if smallest.units == units:
            return (
                f"All {units:,} hidden units are needed to hold {smallest.share:.0%} of the coherent "
                "gradient: nothing to cut."
            )
        return (
            f"{smallest.units:,} of {units:,} hidden units hold {smallest.share:.0%} of the coherent "
            f"gradient. Alone, they reach {percent(smallest.accuracy)} training accuracy, all units "
            f"{percent(accuracy)}: the width is in use, nothing to cut."
        )
    best = good[0]
    summary = (
        f"{best.units:,} of {units:,} hidden units hold {best.share:.0%} of the coherent gradient. Alone, "
        f"they reach {percent(best.accuracy)} training accuracy (all units: {percent(accuracy)}, as many "
        f"random ones: {percent(best.random)})."
    )
    if best.random >= accuracy - ACCURACY_TOLERANCE:
        return f"{summary} Random units do as well: the network is wider than needed. Train a narrower one."
    return (
        f"{summary} The others can be cut, if a test set confirms it: cohaudit export --format mask lists "
        "the units to keep."
    )
