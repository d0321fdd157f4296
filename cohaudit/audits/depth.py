"""Does depth amplify what the samples share? The coherent against the incoherent gradient, layer by layer.

In a deep network a gradient is a product over the other layers, so that a direction that many layers have
learned grows faster than one that is in none of them (Chatterjee & Zielinski, arXiv 2203.10036, on a deep
linear network). Of a trained network the ratio of the energy that all samples share to the rest can be told,
‖μ‖² / mean‖g_i − μ‖² = α / (1 − α), layer by layer: the reciprocal of the gradient noise scale (McCandlish,
Kaplan, Amodei et al., arXiv 1812.06162). It describes the layers and does not prove or disprove the
amplification, which `docs/depth.md` measures. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cohaudit.results import DepthTrend, Estimate, LayerRatio, Skipped

Z_90 = 1.6448536269514722
"""Standard deviations to either side that hold nine tenths of a normal distribution, as the intervals do."""
NEARLY_ORTHOGONAL = 2.0
"""A ratio below so many times that of orthogonal samples says that nearly nothing is shared; the advice names
it in words. It is no reproach: networks that have fitted right labels come to it as others do."""
MIN_LAYERS = 2
"""Layers between which there is a trend."""


def coherent_ratio(alpha: float) -> float:
    """Return α / (1 − α), the energy of the common gradient over that of the rest; infinite for α = 1."""
    return alpha / (1 - alpha) if alpha < 1 else math.inf


def depth_trend(names: Sequence[str], alphas: Sequence[Estimate], samples: int) -> DepthTrend | Skipped:
    """Return how the coherent-to-incoherent ratio changes with depth.

    Args:
        names: Of the layers with a gradient, input side first.
        alphas: α of each, in [0, 1].
        samples: m.
    """
    if len(names) < MIN_LAYERS:
        return Skipped("depth", f"it takes {MIN_LAYERS} layers with a gradient, there is {len(names)}")
    ratios = [_ratio(alpha, samples) for alpha in alphas]
    layers = tuple(
        LayerRatio(name, ratio, ratio.value / before.value)
        for name, ratio, before in zip(names, ratios, [ratios[0], *ratios], strict=False)
    )
    slope = _slope(ratios)
    orthogonal = 1 / (samples - 1)
    return DepthTrend(layers, orthogonal, slope, _advice(layers, orthogonal, slope))


def _ratio(alpha: Estimate, samples: int) -> Estimate:
    """Return the ratio with its interval; a lower end of 0 becomes a hundredth of orthogonal samples'."""
    floor = 0.01 / samples
    ceiling = 1 - 1e-9
    return Estimate(*(coherent_ratio(min(max(end, floor), ceiling)) for end in _ends(alpha)))


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _slope(ratios: Sequence[Estimate]) -> Estimate:
    """Return the slope of log₁₀ of the ratio against the depth, from 0 to 1, weighted by the intervals."""
    depth = np.linspace(0, 1, len(ratios))
    height = np.log10([ratio.value for ratio in ratios])
    spread = np.maximum([math.log10(ratio.high / ratio.low) / (2 * Z_90) for ratio in ratios], 1e-3)
    weight = 1 / spread**2
    center = np.average(depth, weights=weight)
    square = float(np.sum(weight * (depth - center) ** 2))
    slope = float(np.sum(weight * (depth - center) * height)) / square
    rest = height - np.average(height, weights=weight) - slope * (depth - center)
    # layers differ by more than their own intervals say: their scatter around the line counts too
    scatter = max(1.0, float(np.sum(weight * rest**2)) / max(1, len(ratios) - 2))
    half = Z_90 * math.sqrt(scatter / square)
    return Estimate(slope, slope - half, slope + half)


def _advice(layers: Sequence[LayerRatio], orthogonal: float, slope: Estimate) -> str:
    weak = [one for one in layers if one.ratio.value < NEARLY_ORTHOGONAL * orthogonal]
    if weak:
        one = min(weak, key=lambda layer: layer.ratio.value)
        several = f" (and {len(weak) - 1} more)" if len(weak) > 1 else ""
        return (
            f"In {one.name}{several} the samples share less than twice what chance would give them: a ratio "
            f"of {one.ratio.value:.2g}, {orthogonal:.2g} for samples that have nothing in common. Good "
            "networks come to this as bad ones do, when the pulls of the samples cancel: it is no reason to "
            "stop or to freeze the layer. Judge by the predicted gap and by the memorized samples."
        )
    low, high = (choose(layers, key=lambda layer: layer.ratio.value) for choose in (min, max))
    range_told = (
        f"from {low.ratio.value:.2g} in {low.name} to {high.ratio.value:.2g} in {high.name}, all above the "
        f"{orthogonal:.2g} of samples that have nothing in common"
    )
    if slope.low > 0:
        trend = f"rises with depth, by 10^{slope.value:.1f} from first to last layer"
    elif slope.high < 0:
        trend = f"falls with depth, by 10^{-slope.value:.1f} from first to last layer"
    else:
        trend = "has no trend with depth"
    return f"The coherent share {trend} ({range_told}): nothing to do."
