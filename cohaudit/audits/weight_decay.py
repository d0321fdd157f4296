"""Weight decay as a background force: L2 pulls every weight by λw, L1 by λ sign w, the data by μ.

A weight that many samples pull one way withstands it, one that they pull at random drowns (Chatterjee, ICLR
2020, arXiv 2002.10657). So the weights are parted by m μ_j² / mean_i g_ij², which is about 1 where the
samples are independent, of mean 0 (it is m times the coherence of the single weight; its relation to the
signal-to-noise ratio of Liu et al., arXiv 2001.07384, is in `coherence`), and of either part the λ is told at
which decay pulls half of it harder than the data: the median of |μ_j| / |w_j| for L2, of |μ_j| for L1.
Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import BackgroundForce, DecayRange, LayerDecay, Skipped, TrainedDecay

Array = NDArray[np.float64]

CHI2_95 = 3.841458820694124
"""m μ² / mean g² that one weight in twenty exceeds by chance: the χ² distribution's 95 % point."""
SMALLEST_NORMAL = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class LayerForces:
    """What pulls at one layer's weights.

    Attributes:
        name: Of the layer.
        weight: w, [weights].
        mean: μ, the mean gradient of each.
        mean_square: mean_i g_i² of each.
    """

    name: str
    weight: Array
    mean: Array
    mean_square: Array

    def coherent(self, samples: int) -> NDArray[np.bool_]:
        """Return which weights have a mean gradient beyond what chance gives."""
        return samples * np.square(self.mean) > CHI2_95 * self.mean_square


def background_force(
    layers: Sequence[LayerForces], samples: int, trained: TrainedDecay | Skipped
) -> BackgroundForce | Skipped:
    """Return how decay and data pull against each other.

    Args:
        layers: Input side first.
        samples: m.
        trained: The decay that the network was trained with.
    """
    # a weight without a gradient, of a dead unit, gives way to any decay and tells nothing of its size
    live = [_live(layer) for layer in layers if layer.mean_square.any()]
    parted = [layer.coherent(samples) for layer in live]
    coherent = np.concatenate(parted) if parted else np.zeros(0, dtype=bool)
    if coherent.all() or not coherent.any():
        found = (
            "every weight's mean gradient is beyond what chance gives"
            if coherent.any()
            else "no weight's mean gradient is beyond what chance gives: the samples' pulls cancel"
        )
        return Skipped("decay", f"{found}; there are no two kinds to part")
    size = np.concatenate([np.abs(layer.weight) for layer in live])
    pull = np.concatenate([np.abs(layer.mean) for layer in live])
    l2 = _range(pull / np.maximum(size, SMALLEST_NORMAL), coherent)
    l1 = _range(pull, coherent)
    l2_at = _held_at(l2, trained)
    l1_at = _middle(l1)
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
        layers=tuple(_layer(one, own, l2_at, l1_at) for one, own in zip(live, parted, strict=True)),
        advice=_advice(l2, trained, lost),
    )


def _live(layer: LayerForces) -> LayerForces:
    own = layer.mean_square > 0
    return LayerForces(layer.name, layer.weight[own], layer.mean[own], layer.mean_square[own])


def _range(balance: Array, coherent: NDArray[np.bool_]) -> DecayRange:
    return DecayRange(float(np.median(balance[~coherent])), float(np.median(balance[coherent])))


def _middle(found: DecayRange) -> float:
    return math.sqrt(found.low * found.high)


def _held_at(found: DecayRange, trained: TrainedDecay | Skipped) -> float:
    """Return the λ to hold the layers against: the trained one where it acts on the gradient's scale."""
    if isinstance(trained, Skipped) or trained.decoupled or not trained.value:
        return _middle(found)
    return trained.value


def _layer(layer: LayerForces, coherent: NDArray[np.bool_], l2_at: float, l1_at: float) -> LayerDecay:
    size = np.abs(layer.weight)
    pull = np.abs(layer.mean)
    force = max(float(np.linalg.norm(pull)), SMALLEST_NORMAL)
    there = size > 0
    return LayerDecay(
        name=layer.name,
        coherent=float(coherent.mean()),
        ratio=l2_at * float(np.linalg.norm(size)) / force,
        lost=float((l2_at * size > pull).mean()),
        l1_ratio=l1_at * math.sqrt(there.sum()) / force,
        l1_lost=float((l1_at > pull[there]).mean()) if there.any() else 0.0,
    )


def _advice(l2: DecayRange, trained: TrainedDecay | Skipped, lost: tuple[float, float]) -> str:
    """Return what to do; `lost` are the shares of incoherent and coherent weights that decay wins over."""
    if l2.low >= l2.high:
        return (
            f"Half of the coherent weights give way at λ = {l2.high:.1e}, half of the incoherent ones at "
            f"{l2.low:.1e}: decay does not part them here, and nothing follows for how to set it."
        )
    told = (
        f"from {l2.low:.1e}, where half of the incoherent weights drown, to {l2.high:.1e}, where half of "
        "the coherent ones do"
    )
    if isinstance(trained, Skipped):
        return f"The trained weight decay is not known. As L2 on the gradient, it parts them {told}."
    if not trained.value:
        return (
            f"Trained without weight decay. If wrong labels are fitted, try {l2.low:.1e}: decay parts them "
            f"{told}."
        )
    decay = f"The trained decay of {trained.value:g}"
    if trained.decoupled:
        return f"{decay} acts beside the gradient (AdamW). As L2 on the gradient, it would part them {told}."
    wins = f"wins over {lost[0]:.0%} of the incoherent and {lost[1]:.0%} of the coherent weights"
    if trained.value < l2.low:
        return f"{decay} {wins}. If wrong labels are fitted, try more: it parts them {told}."
    if trained.value > l2.high:
        return f"{decay} {wins}. If right labels are not fitted, try less: it parts them {told}."
    return (
        f"{decay} {wins}, and is in the range that parts them, {told}: nothing to do, unless right labels "
        "are not fitted."
    )
