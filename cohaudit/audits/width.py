"""How much of a layer's width carries what the samples share: the coherent sub-network.

A unit is a row of a layer's weight with its entry of the bias, an attention head the rows of its queries,
keys and values. Two things are told of it, from exact sums over the samples:

- its pairwise coherence α_u = (‖Σg_i‖² − Σ‖g_i‖²) / ((m − 1) Σ‖g_i‖²), see `coherence`;
- its coherent energy, what pairs of samples of one class have in common: Σ_c (‖Σ_{i∈c} g_i‖² −
  Σ_{i∈c} ‖g_i‖²).

Within the classes, because the classes' sums cancel where a network is nearly trained: all pairs together
then choose units at random, or worse (docs/width.md has the figures). Over the units the participation ratio
(Σe)² / Σe² counts how many hold the energy. That wider networks are more coherent, having more sub-networks
to choose from, is a claim of Chatterjee (ICLR 2020, arXiv 2002.10657). Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import CoherentWidth, LayerUnits, Skipped, SubNetwork

Array = NDArray[np.float64]

SHARES = (0.9, 0.99)
"""Of the coherent energy that the sub-networks hold."""
ACCURACY_TOLERANCE = 0.01
"""Loss of training accuracy up to which a sub-network counts as good as the whole."""
MIN_CUT_SHARE = 0.05
"""Share of the units below which cutting them is not worth a word."""


def pairwise_coherence(sum_squares: Array, squares: Array, samples: int) -> Array:
    """Return α_u of each unit; 0 for one without a gradient.

    Args:
        sum_squares: ‖Σ_i g_i‖² of each.
        squares: Σ_i ‖g_i‖² of each.
        samples: m, at least 2.
    """
    live = squares > 0
    found: Array = np.divide(
        sum_squares - squares, (samples - 1) * squares, out=np.zeros_like(squares), where=live
    )
    return found


def coherent_energy(class_squares: Array, squares: Array) -> Array:
    """Return what samples of one class have in common at each unit; where they disagree, 0.

    Args:
        class_squares: Σ_c ‖Σ_{i∈c} g_i‖² of each.
        squares: Σ_i ‖g_i‖² of each.
    """
    return np.maximum(class_squares - squares, 0)


def participation(energy: Array) -> float:
    """Return (Σe)² / (units · Σe²), between 1 / units and 1; 0 where there is no energy."""
    largest = float(energy.max(initial=0))
    if not largest:
        return 0.0
    relative = energy / largest
    return float(relative.sum() ** 2 / (len(energy) * np.square(relative).sum()))


def smallest_set(energy: Sequence[float] | Array, share: float) -> NDArray[np.int64]:
    """Return the fewest units that hold a share of the energy, in ascending order; all where there is none.

    Args:
        energy: Of each unit, 0 or more.
        share: In (0, 1].
    """
    values = np.asarray(energy, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    held = np.cumsum(values[order])
    if not len(held) or not held[-1]:
        return np.arange(len(values))
    # rounding must not ask for more than there is
    count = int(np.searchsorted(held, share * held[-1] * (1 - 1e-12))) + 1
    return np.sort(order[:count])


def layer_units(
    name: str, kind: str, sum_squares: Array, class_squares: Array, squares: Array, samples: int
) -> LayerUnits:
    """Return what is told of one layer's units; for the arguments see the functions above."""
    energy = coherent_energy(class_squares, squares)
    total = float(energy.sum()) or 1.0
    coherence = pairwise_coherence(sum_squares, squares, samples)
    return LayerUnits(
        name=name,
        kind=kind,
        coherence=tuple(round(one, 6) for one in coherence.tolist()),
        energy=tuple((energy / total).tolist()),
        participation=participation(energy),
        kept=tuple(smallest_set(energy / total, SHARES[0]).tolist()),
    )


def coherent_width(
    layers: Sequence[LayerUnits], accuracy: float, sub_networks: Sequence[SubNetwork]
) -> CoherentWidth | Skipped:
    """Return what is told of the width.

    Args:
        layers: The hidden ones.
        accuracy: Of the whole network, on the training labels.
        sub_networks: What was measured with some units alone, for each of `SHARES`.
    """
    if not layers:
        return Skipped(
            "width", "it has no hidden linear, convolutional or attention layer of its own weights"
        )
    if not any(sum(layer.energy) for layer in layers):
        return Skipped("width", "no unit has a coherent gradient")
    units = sum(len(layer.energy) for layer in layers)
    told = _advice(units, accuracy, sub_networks)
    return CoherentWidth(tuple(layers), units, accuracy, tuple(sub_networks), told)


def _advice(units: int, accuracy: float, sub_networks: Sequence[SubNetwork]) -> str:
    good = [one for one in sub_networks if one.accuracy >= accuracy - ACCURACY_TOLERANCE]
    if not good or good[0].units > (1 - MIN_CUT_SHARE) * units:
        one = sub_networks[0]
        if one.units == units:
            return (
                f"It takes all {units:,} hidden units to hold {one.share:.0%} of the coherent gradient: "
                "nothing to cut."
            )
        return (
            f"{one.units:,} of {units:,} hidden units hold {one.share:.0%} of the coherent gradient; without "
            f"the others {one.accuracy:.1%} of the training labels are given, not {accuracy:.1%}. The width "
            "is in use: nothing to cut."
        )
    one = good[0]
    told = (
        f"{one.units:,} of {units:,} hidden units hold {one.share:.0%} of the coherent gradient, and alone "
        f"give {one.accuracy:.1%} of the training labels (all of them {accuracy:.1%}, as many at random "
        f"{one.random:.1%})."
    )
    if one.random >= accuracy - ACCURACY_TOLERANCE:
        return f"{told} Random ones do as well: it is wider than it need be; train a narrower one."
    return (
        f"{told} The others can be cut, if a test set agrees: "
        "cohaudit export --format mask lists what to keep."
    )
