"""Does depth amplify what the samples share? The coherent against the incoherent gradient, layer by layer.

In a deep network a gradient is a product over the other layers, so that a direction that many layers have
learned grows faster than one that none of them has (Chatterjee & Zielinski, arXiv 2203.10036, for a deep
linear network). In a trained network one can measure, layer by layer, the ratio of the energy that all
samples share to the rest, ‖μ‖² / mean‖g_i − μ‖² = α / (1 − α): a plug-in estimate of the reciprocal of the
gradient noise scale (McCandlish, Kaplan, Amodei et al., arXiv 1812.06162). It describes the layers; it
neither proves nor disproves the amplification, which `docs/depth.md` measures. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from cohaudit.analysis.quantiles import Z_90
from cohaudit.results import DepthTrend, Estimate, LayerRatio, Skipped
from cohaudit.results.wording import number

NEARLY_ORTHOGONAL = 2.0
"""Below this many times the ratio of orthogonal samples, a layer's samples share nearly nothing; the advice
says "twice". That is not a fault: networks that fitted correct labels get there as others do."""

MIN_LAYERS = 2
"""Fewest layers whose ratios can be compared."""

MIN_SLOPE_LAYERS = 4
"""Fewest layers that a slope is fitted to. Two leave no degree of freedom to estimate their scatter from, and
with three the 95 % quantile of Student's t is 6.3: such an interval says nothing."""

UPPER_TAIL = 0.95
"""Quantile that a central interval of 90 % ends at."""

MAX_RATIO_ALPHA = 1 - 1e-9
"""α is clipped to this, so that the ratio stays finite."""

MIN_SPREAD = 1e-3
"""Smallest standard deviation of a log₁₀ ratio: a layer with an interval of width 0 would get infinite
weight."""


def coherent_ratio(alpha: float) -> float:
    """Return α / (1 − α), the energy of the mean gradient over that of the rest; infinite for α = 1."""
    return alpha / (1 - alpha) if alpha < 1 else math.inf


def depth_trend(names: Sequence[str], alphas: Sequence[Estimate], samples: int) -> DepthTrend | Skipped:
    """Return how the coherent-to-incoherent ratio changes with depth.

    Args:
        names: Names of the layers with a gradient, input side first.
        alphas: α of each layer, in [0, 1].
        samples: m.
    """
    if len(names) < MIN_LAYERS:
        return Skipped("depth", f"it needs at least {MIN_LAYERS} layers with a gradient, found {len(names)}")
    ratios = [_ratio(alpha, samples) for alpha in alphas]
    layers = tuple(
        LayerRatio(name, ratio, ratio.value / before.value)
        for name, ratio, before in zip(names, ratios, [ratios[0], *ratios], strict=False)
    )
    slope = _slope(ratios)
    orthogonal = 1 / (samples - 1)
    return DepthTrend(layers, orthogonal, slope, _advice(layers, orthogonal, slope))


def _ratio(alpha: Estimate, samples: int) -> Estimate:
    """Return the ratio with its interval; α is at least a hundredth of that of orthogonal samples."""

    def ratio(end: float) -> float:
        return coherent_ratio(min(max(end, 0.01 / samples), MAX_RATIO_ALPHA))

    return Estimate(ratio(alpha.value), ratio(alpha.low), ratio(alpha.high))


def _slope(ratios: Sequence[Estimate]) -> Estimate | Skipped:
    """Return the slope of log₁₀ of the ratio against the depth, from 0 to 1, weighted by the intervals.

    Its 90 % interval covers the slope of layers that scatter around a line, independently and normally: the
    scatter is estimated from n − 2 degrees of freedom, hence Student's t with as many.
    """
    if len(ratios) < MIN_SLOPE_LAYERS:
        reason = f"a slope needs at least {MIN_SLOPE_LAYERS} layers with a gradient, found {len(ratios)}"
        return Skipped("slope over the depth", reason)
    depth = np.linspace(0, 1, len(ratios))
    height = np.log10([ratio.value for ratio in ratios])
    # in logarithms, where the intervals are about symmetric
    spread = np.maximum([math.log10(ratio.high / ratio.low) / (2 * Z_90) for ratio in ratios], MIN_SPREAD)
    weight = 1 / spread**2
    center = np.average(depth, weights=weight)
    square = float(np.sum(weight * (depth - center) ** 2))
    slope = float(np.sum(weight * (depth - center) * height)) / square
    rest = height - np.average(height, weights=weight) - slope * (depth - center)
    # layers scatter around the line by more than their own intervals: the larger of both counts
    freedom = len(ratios) - 2
    scatter = max(1.0, float(np.sum(weight * rest**2)) / freedom)
    half = float(stdtrit(freedom, UPPER_TAIL)) * math.sqrt(scatter / square)
    return Estimate(slope, slope - half, slope + half)


def _advice(layers: Sequence[LayerRatio], orthogonal: float, slope: Estimate | Skipped) -> str:
    """Return what the ratios mean, with the figures; there is never anything to do."""
    # a weak layer is worth more attention than the trend
    weak = [one for one in layers if one.ratio.value < NEARLY_ORTHOGONAL * orthogonal]
    if weak:
        weakest = min(weak, key=lambda layer: layer.ratio.value)
        several = f" (and {len(weak) - 1} more)" if len(weak) > 1 else ""
        return (
            f"In {weakest.name}{several} the samples share less than twice what chance gives: the ratio is "
            f"{number(weakest.ratio.value)}, and {number(orthogonal)} for samples with nothing in common. "
            "This happens in good and in bad networks, when the samples' gradients cancel: do not stop "
            "training or freeze the layer for it. Judge by the predicted gap and by the memorized samples."
        )
    low, high = (choose(layers, key=lambda layer: layer.ratio.value) for choose in (min, max))
    if isinstance(slope, Skipped):
        trend = "by layer, too few for a trend with depth"
    elif slope.low > 0:
        trend = f"rises with depth, by 10^{slope.value:.1f} from the first to the last layer"
    elif slope.high < 0:
        trend = f"falls with depth, by 10^{-slope.value:.1f} from the first to the last layer"
    else:
        trend = "has no trend with depth"
    return (
        f"The coherent share {trend}: from {number(low.ratio.value)} in {low.name} to "
        f"{number(high.ratio.value)} in {high.name}, all above the {number(orthogonal)} of samples with "
        "nothing in common. Nothing to do."
    )
