"""The coherent-to-incoherent ratio by depth: closed forms, bounds, and the advice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.audits.depth import coherent_ratio, depth_trend
from cohaudit.results import DepthTrend, Estimate, Skipped

SAMPLES = 101


def around(alpha: float) -> Estimate:
    return Estimate(alpha, alpha * 0.9, min(1.0, alpha * 1.1))


def trend(*alphas: float) -> DepthTrend:
    found = depth_trend([f"layer {i}" for i in range(len(alphas))], [around(a) for a in alphas], SAMPLES)
    assert isinstance(found, DepthTrend)
    return found


@given(st.integers(2, 40), st.integers(1, 20), st.floats(0, 3))
def test_the_ratio_is_that_of_the_mean_to_the_deviations(samples: int, size: int, shared: float) -> None:
    gradients = np.random.default_rng(0).normal(size=(samples, size)) + shared
    mean = gradients.mean(0)
    alpha = float(mean @ mean / np.square(gradients).sum(1).mean())
    direct = float(mean @ mean / np.square(gradients - mean).sum(1).mean())
    assert coherent_ratio(alpha) == pytest.approx(direct, rel=1e-9)


def test_orthogonal_samples_have_the_ratio_that_is_named() -> None:
    assert trend(1 / SAMPLES, 0.5).layers[0].ratio.value == pytest.approx(1 / (SAMPLES - 1))
    assert trend(0.5, 0.5).orthogonal == pytest.approx(1 / (SAMPLES - 1))


def test_the_slope_counts_tenfolds_from_first_to_last_layer() -> None:
    ratios = [0.02, 0.2, 2.0, 20.0]
    found = trend(*(r / (1 + r) for r in ratios))
    assert isinstance(found.slope, Estimate)
    assert found.slope.value == pytest.approx(3)
    assert found.slope.low < 3 < found.slope.high
    assert [layer.amplification for layer in found.layers] == pytest.approx([1, 10, 10, 10])


@pytest.mark.parametrize("layers", [4, 5, 8, 16])
def test_the_slopes_interval_covers_nine_in_ten(layers: int) -> None:
    generator = np.random.default_rng(layers)
    # layers that scatter around a line by more than their own intervals, as measured ones do
    heights = -2 + 0.5 * np.linspace(0, 1, layers) + 0.3 * generator.normal(size=(1500, layers))
    slopes = [trend(*(ratio / (1 + ratio) for ratio in 10**own)).slope for own in heights]
    covered = [slope.low <= 0.5 <= slope.high for slope in slopes if isinstance(slope, Estimate)]
    assert len(covered) == len(heights)
    # 3 standard errors of 1,500 draws; the normal quantile covers 77, 81, 85 and 88 %
    assert np.mean(covered) == pytest.approx(0.9, abs=0.024)


@pytest.mark.parametrize("layers", [2, 3])
def test_below_four_layers_there_are_ratios_but_no_slope(layers: int) -> None:
    found = trend(*np.linspace(0.1, 0.5, layers))
    assert isinstance(found.slope, Skipped)
    assert f"found {layers}" in found.slope.reason
    assert len(found.layers) == layers
    assert "too few for a trend" in found.advice


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_any_coherence_gives_finite_figures_in_order(alphas: list[float]) -> None:
    found = trend(*alphas)
    slope = () if isinstance(found.slope, Skipped) else (found.slope,)
    for one in (*slope, *(layer.ratio for layer in found.layers)):
        assert np.isfinite([one.low, one.value, one.high]).all()
        assert one.low <= one.value <= one.high


def test_a_layer_that_shares_next_to_nothing_is_named_and_not_blamed() -> None:
    advice = trend(0.5, 1.2 / SAMPLES, 0.4).advice
    assert "layer 1" in advice
    assert "do not stop training or freeze the layer" in advice
    assert "Judge by the predicted gap" in advice
    assert "Nothing to do" in trend(0.5, 0.3, 0.4).advice


def test_one_layer_has_no_trend() -> None:
    found = depth_trend(["fc"], [around(0.5)], SAMPLES)
    assert isinstance(found, Skipped)
    assert "found 1" in found.reason
