"""Robust averages: against the training loop, by what they promise, and intervals that hold the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.single_gradients import CPU, OPTIONS, everything, fit_network, source
from torch.nn import functional as F

from cohaudit.audits.winsorized_statistics import (
    MAX_COORDINATES_PER_LAYER,
    CoordinateSample,
    Totals,
    allowance,
    averages,
    choose_coordinates,
    clipped_shares,
    cosine,
    groups_of_three,
    norm_ratio,
    share_of_step,
)
from cohaudit.gradients.passes.coordinates import gradient_coordinates
from cohaudit.gradients.robust import winsorized_gradient


def test_the_averages_are_those_of_the_training_loop() -> None:
    model, x, y = fit_network()
    found = gradient_coordinates(
        model, source(x, y), everything(model), OPTIONS, CPU, advance=lambda done: None
    )
    thirds, sets = groups_of_three(len(y), 0), np.zeros((1, len(y)), dtype=bool)
    drawn, expected = [], winsorized_gradient(model, F.cross_entropy, x, y, clip=0.04)
    for name, gradient in expected.gradient.items():
        own = averages(found.gradients(name), sets, thirds, (0.0, 0.04))
        np.testing.assert_allclose(own.winsorized[0], own.mean, atol=1e-14)
        np.testing.assert_allclose(own.winsorized[1], gradient.flatten().numpy(), atol=1e-12)
        drawn.append(CoordinateSample(gradient.numel(), [own]))
    whole = Totals(drawn, len(y), 0)
    assert whole.estimate(norm_ratio(2)).value == pytest.approx(expected.kept)
    assert whole.estimate(cosine(2)).value == pytest.approx(expected.cosine)
    np.testing.assert_allclose(clipped_shares(drawn)[1], expected.clipped.numpy(), atol=1e-12)


GRADIENTS = arrays(np.float64, (30, 5), elements=st.floats(-100, 100))


@settings(max_examples=50)
@given(GRADIENTS, st.sampled_from([0.0, 0.04, 0.2, 0.49]), st.integers(0, 5))
def test_averages_lie_within_the_samples_and_the_shares_add_up(
    gradients: np.ndarray, clip: float, seed: int
) -> None:
    members = np.random.default_rng(seed).random(30) < 0.4
    own = averages(gradients, np.stack([members, ~members]), groups_of_three(30, seed), (clip,))
    k = int(clip * 30)
    ordered = np.sort(gradients, axis=0)
    expected = np.clip(gradients, ordered[k], ordered[29 - k])
    np.testing.assert_allclose(own.winsorized[0], expected.mean(0), atol=1e-9)
    np.testing.assert_allclose(own.parts[1].sum(0), expected.sum(0), atol=1e-8)
    for average in (own.winsorized[0], own.median):
        assert (average >= ordered[0] - 1e-9).all()
        assert (average <= ordered[-1] + 1e-9).all()
    assert ((own.clipped >= 0) & (own.clipped <= own.energy + 1e-9)).all()
    whole = Totals([CoordinateSample(5, [own])], 30, 0)
    for which in (0, 1):
        if np.square(expected.mean(0) if which else own.mean).sum() > 1e-6:
            shares = [whole.estimate(share_of_step(which, s)).value for s in range(2)]
            assert sum(shares) == pytest.approx(1)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(30, 20_000))
def test_all_layers_together_fit_the_memory(sizes: list[int], total: int) -> None:
    most = allowance(sizes, total)
    assert 1 <= most <= MAX_COORDINATES_PER_LAYER
    assert sum(min(size, most) for size in sizes) <= total
    # what is left over would not give every layer that wants it one more
    wanting = sum(size > most for size in sizes)
    assert most == MAX_COORDINATES_PER_LAYER or total - sum(min(size, most) for size in sizes) < wanting


def test_a_small_layer_is_looked_at_whole_and_a_large_one_evenly() -> None:
    sizes = {"a.weight": 900, "a.bias": 100, "b.weight": 30}
    layer_of = {"a.weight": "a", "a.bias": "a", "b.weight": "b"}
    found = [choose_coordinates(sizes, layer_of, 200, seed) for seed in range(40)]
    for one in found:
        assert len(one["a.weight"]) + len(one["a.bias"]) == 200
        assert one["b.weight"].tolist() == list(range(30))
        for name, size in sizes.items():
            assert np.array_equal(np.unique(one[name]), one[name])
            assert one[name].max(initial=0) < size
    counts = np.bincount(np.concatenate([one["a.weight"] for one in found]), minlength=900)
    assert counts.mean() == pytest.approx(8, abs=0.5)


def test_intervals_hold_the_whole_and_vanish_when_every_coordinate_is_seen() -> None:
    generator = np.random.default_rng(1)
    gradients = generator.standard_t(3, (60, 4000)) + generator.normal(size=4000)
    members, thirds = (np.arange(60) < 9)[None], groups_of_three(60, 0)
    whole = Totals([CoordinateSample(4000, [averages(gradients, members, thirds)])], 60, 0)
    held = []
    for seed in range(40):
        some = np.random.default_rng(seed).permutation(4000)[:400]
        drawn = Totals([CoordinateSample(4000, [averages(gradients[:, some], members, thirds)])], 60, seed)
        for ratio in (norm_ratio(2), cosine(2), share_of_step(0, 0)):
            truth, told = whole.estimate(ratio), drawn.estimate(ratio)
            assert truth.low == truth.value == truth.high
            held.append(told.low <= truth.value <= told.high)
    assert 0.82 < np.mean(held) < 0.97
