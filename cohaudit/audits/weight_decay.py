"""Weight decay as a background force: L2 pulls each weight by λw, L1 by λ sign w, the data by μ.

A weight that many samples pull in one direction withstands decay; one that they pull at random does not
(Chatterjee, ICLR 2020, arXiv 2002.10657). So the weights are divided by m μ_j² / mean_i g_ij², m times the
coherence of a single weight, which is about 1 if samples pull independently with mean 0. For each part this
gives the λ at which decay pulls half of it harder than the data do: the median of |μ_j| / |w_j| for L2, of
|μ_j| for L1. One weight in twenty counts as coherent by chance, and more of them now and then, as the weights
of a layer share activations: where no more are, there is no range. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.quantiles import CHI2_95
from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.results import BackgroundForce, DecayRange, LayerDecay, Skipped, TrainedDecay
from cohaudit.results.wording import compact, number, percent

Array = NDArray[np.float64]

MAX_CHANCE_COHERENT = 0.13
"""Largest share of coherent weights that chance explains. A random sign for each sample's gradient leaves
nothing in common: then twelve perceptrons on digits had 3 to 4 % coherent weights on average, and 95 of 100
draws of the signs gave at most 8 to 13 %, from network to network."""


@dataclass(frozen=True)
class LayerForces:
    """One layer's weights and the gradients that pull at them.

    Attributes:
        name: Layer name.
        weight: w, [weights].
        mean: μ, the mean gradient of each weight, [weights].
        mean_square: mean_i g_i² of each weight, [weights].
    """

    name: str
    weight: Array
    mean: Array
    mean_square: Array

    def coherent(self, samples: int) -> NDArray[np.bool_]:
        """Return which weights have a larger mean gradient than chance gives one in twenty, [weights]."""
        return samples * np.square(self.mean) > CHI2_95 * self.mean_square


def background_force(
    layers: Sequence[LayerForces], samples: int, trained: TrainedDecay | Skipped
) -> BackgroundForce | Skipped:
    """Return how weight decay and data pull against each other.

    Args:
        layers: Forces on each layer, input side first.
        samples: m.
        trained: Weight decay of the training run, or why it is unknown.
    """
    # a weight without a gradient, of a dead unit, gives way to any decay: it shows nothing of its size
    live = [_live(layer) for layer in layers if layer.mean_square.any()]
    kinds = [layer.coherent(samples) for layer in live]
    coherent = np.concatenate(kinds) if kinds else np.zeros(0, dtype=bool)
    if reason := _inseparable(coherent):
        return Skipped("decay", reason)
    # all layers together: weight decay has one strength for all
    size = np.concatenate([np.abs(layer.weight) for layer in live])
    pull = np.concatenate([np.abs(layer.mean) for layer in live])
    # a weight of 0 is pulled by no decay: its λ is huge, not a division by zero
    l2 = _range(pull / np.maximum(size, SMALLEST_FLOAT64), coherent)
    l1 = _range(pull, coherent)
    l2_at = _reference_decay(l2, trained)
    l1_at = _geometric_mean(l1)
    # compared weight by weight: decay outweighs the data there
    wins = l2_at * size > pull
    lost = float(wins[~coherent].mean()), float(wins[coherent].mean())
    return BackgroundForce(
        trained=trained,
        l2=l2,
        l1=l1,
        l2_at=l2_at,
        l1_at=l1_at,
        coherent=float(coherent.mean()),
        lost_incoherent=lost[0],
        lost_coherent=lost[1],
        layers=tuple(_layer(one, own, l2_at, l1_at) for one, own in zip(live, kinds, strict=True)),
        advice=_advice(l2, trained, lost),
    )


def _inseparable(coherent: NDArray[np.bool_]) -> str:
    """Return why weights cannot be divided into coherent and other ones; empty if they can."""
    if coherent.any() and coherent.all():
        return "every weight has a larger mean gradient than chance gives: there are no two kinds to separate"
    share = float(coherent.mean()) if len(coherent) else 0.0
    if share > MAX_CHANCE_COHERENT:
        return ""
    return (
        f"{percent(share)} of the weights are coherent, and chance makes up to "
        f"{percent(MAX_CHANCE_COHERENT)} coherent: there are no two kinds to separate"
    )


def _live(layer: LayerForces) -> LayerForces:
    """Return the forces on the weights that have a gradient."""
    own = layer.mean_square > 0
    return LayerForces(layer.name, layer.weight[own], layer.mean[own], layer.mean_square[own])


def _range(balance: Array, coherent: NDArray[np.bool_]) -> DecayRange:
    """Return the λ at which half of the incoherent weights shrink to zero, and half of the coherent ones."""
    return DecayRange(float(np.median(balance[~coherent])), float(np.median(balance[coherent])))


def _geometric_mean(decay: DecayRange) -> float:
    """Return the middle of a range on a logarithmic scale."""
    return math.sqrt(decay.low * decay.high)


def _reference_decay(decay: DecayRange, trained: TrainedDecay | Skipped) -> float:
    """Return the λ at which the layers are compared: the trained one, if it acts as L2 on the gradient."""
    # decoupled decay (AdamW) is scaled by the learning rate alone, and not comparable with gradients
    if isinstance(trained, Skipped) or trained.decoupled or not trained.value:
        return _geometric_mean(decay)
    return trained.value


def _layer(layer: LayerForces, coherent: NDArray[np.bool_], l2_at: float, l1_at: float) -> LayerDecay:
    """Return how decay of strength `l2_at` and `l1_at` compares with the data's pull in one layer."""
    size = np.abs(layer.weight)
    pull = np.abs(layer.mean)
    force = max(float(np.linalg.norm(pull)), SMALLEST_FLOAT64)
    nonzero = size > 0  # L1 does not pull at a weight of 0
    return LayerDecay(
        name=layer.name,
        coherent=float(coherent.mean()),
        ratio=l2_at * float(np.linalg.norm(size)) / force,
        lost=float((l2_at * size > pull).mean()),
        l1_ratio=l1_at * math.sqrt(nonzero.sum()) / force,
        l1_lost=float((l1_at > pull[nonzero]).mean()) if nonzero.any() else 0.0,
    )


def _advice(l2: DecayRange, trained: TrainedDecay | Skipped, lost: tuple[float, float]) -> str:
    """Return what to do.

    Args:
        l2: Range of L2 decay that separates incoherent from coherent weights.
        trained: Weight decay of the training run, or why it is unknown.
        lost: Shares of the incoherent and of the coherent weights that decay pulls harder than the data do.
    """
    if l2.low >= l2.high:
        return (
            f"Half of the coherent weights shrink to zero at an L2 decay of λ = {number(l2.high)}, half of "
            f"the incoherent ones at {number(l2.low)}: decay does not separate them here, and gives no hint "
            "on how to set it."
        )
    window = (
        f"between {number(l2.low)}, where half of the incoherent weights shrink to zero, and "
        f"{number(l2.high)}, where half of the coherent ones do"
    )
    if isinstance(trained, Skipped):
        return (
            "The weight decay of the training run is unknown. As L2 on the gradient, decay separates the "
            f"weights {window}."
        )
    if not trained.value:
        return (
            f"The training run had no weight decay. If wrong labels are fitted, try {number(l2.low)}: L2 "
            f"decay separates the weights {window}."
        )
    decay = f"The training run's decay of {compact(trained.value)}"
    if trained.decoupled:
        return (
            f"{decay} acts beside the gradient (AdamW). As L2 on the gradient, decay would separate the "
            f"weights {window}."
        )
    wins = f"outweighs the data for {lost[0]:.0%} of the incoherent and {lost[1]:.0%} of the coherent weights"
    if trained.value < l2.low:
        return f"{decay} {wins}. If wrong labels are fitted, try more: it separates the weights {window}."
    if trained.value > l2.high:
        return (
            f"{decay} {wins}. If correct labels are not fitted, try less: it separates the weights {window}."
        )
    return (
        f"{decay} {wins}, and lies in the range that separates them, {window}. Nothing to do, unless correct "
        "labels are not fitted."
    )
