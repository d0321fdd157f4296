"""Coherence against its definitions, its laws and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from cohaudit.analysis import coherence as coherence_module
from cohaudit.analysis.coherence import (
    MIN_RESAMPLED,
    Gradients,
    Resampling,
    coherence,
    interval_deviations,
    pairwise_coherence,
)
from cohaudit.results import Coherence, Skipped

Array = NDArray[np.float64]

EXACT = {"rel": 1e-9, "abs": 1e-9}
NO_SPREAD = np.zeros(2)

gradient_sets = st_numpy.arrays(
    np.float64,
    st.tuples(st.integers(2, 9), st.integers(1, 6)),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60)


def sums(gradients: Array) -> tuple[float, float]:
    """Return ‖Σ g_i‖² and Σ ‖g_i‖²."""
    return float(np.square(gradients.sum(0)).sum()), float(np.square(gradients).sum())


def measured(gradients: Array, deviations: Array = NO_SPREAD) -> Coherence:
    found = coherence("the gradients", *sums(gradients), len(gradients), deviations)
    assert isinstance(found, Coherence)
    return found


def shared_and_own(seed: int, samples: int, size: int, pairwise: float) -> Array:
    """Return gradients with unit normal parts of their own and one direction in common: α_u is known."""
    gradients = np.random.default_rng(seed).normal(size=(samples, size))
    gradients[:, 0] += np.sqrt(pairwise / (1 - pairwise) * size)
    return gradients


@quick
@given(gradient_sets)
def test_the_three_coherences_are_what_their_definitions_say(gradients: Array) -> None:
    assume(gradients.any())
    found, m = measured(gradients), len(gradients)
    energy = np.mean([g @ g for g in gradients])
    mean = gradients.mean(0)
    pairs = [a @ b for i, a in enumerate(gradients) for j, b in enumerate(gradients) if i != j]
    assert found.samples == m
    assert found.alpha.value == pytest.approx(mean @ mean / energy, **EXACT)
    assert found.m_coherence.value == pytest.approx(m * (mean @ mean) / energy, **EXACT)
    assert found.pairwise.value == pytest.approx(np.mean(pairs) / energy, **EXACT)


@quick
@given(gradient_sets)
def test_each_coherence_stays_in_its_range(gradients: Array) -> None:
    assume(gradients.any())
    found, m = measured(gradients), len(gradients)
    rounding = 1e-12
    assert 0 <= found.alpha.value <= 1 + rounding
    assert 0 <= found.m_coherence.value <= m * (1 + rounding)
    assert -1 / (m - 1) <= found.pairwise.value <= 1 + rounding


@quick
@given(seeds, st.integers(2, 40))
def test_equal_gradients_are_wholly_coherent(seed: int, m: int) -> None:
    found = measured(np.tile(np.random.default_rng(seed).normal(size=5), (m, 1)))
    assert found.alpha.value == pytest.approx(1, **EXACT)
    assert found.m_coherence.value == pytest.approx(m, **EXACT)
    assert found.pairwise.value == pytest.approx(1, **EXACT)


@quick
@given(seeds, st.integers(2, 12))
def test_orthogonal_gradients_of_any_norm_are_at_the_orthogonal_limit(seed: int, m: int) -> None:
    generator = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(generator.normal(size=(m + 2, m)))
    found = measured(directions.T * generator.uniform(0.1, 9, size=(m, 1)))
    assert found.m_coherence.value == pytest.approx(1, **EXACT)
    assert found.pairwise.value == pytest.approx(0, **EXACT)


def test_gradients_that_cancel_have_the_lowest_coherence() -> None:
    found = measured(np.array([[1.0, 0], [-0.5, np.sqrt(0.75)], [-0.5, -np.sqrt(0.75)]]))
    assert found.m_coherence.value == pytest.approx(0, **EXACT)
    assert found.pairwise.value == pytest.approx(-1 / 2, **EXACT)


@quick
@given(seeds, st.integers(2, 12), st.integers(1, 8), st.floats(1e-30, 1e30))
def test_rotation_order_and_common_scale_do_not_matter(seed: int, m: int, size: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    gradients = shared_and_own(seed, m, size, 0.3)
    rotation, _ = np.linalg.qr(generator.normal(size=(size, size)))
    changed = generator.permutation(gradients @ rotation) * scale
    assert measured(changed).pairwise.value == pytest.approx(measured(gradients).pairwise.value, **EXACT)
    assert measured(changed).alpha.value == pytest.approx(measured(gradients).alpha.value, **EXACT)


@quick
@given(gradient_sets, st.data())
def test_alpha_of_the_model_is_the_energy_weighted_mean_of_the_layers(
    gradients: Array, choice: st.DataObject
) -> None:
    assume(gradients.any())
    cut = choice.draw(st.integers(0, gradients.shape[1]))
    layers = [part for part in np.split(gradients, [cut], axis=1) if part.any()]
    energies = [np.square(layer).sum() for layer in layers]
    expected = np.average([measured(layer).alpha.value for layer in layers], weights=energies)
    assert measured(gradients).alpha.value == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("k", [2, 8])
def test_averaging_inflates_coherence_as_the_formula_says(k: int) -> None:
    alpha, samples = 0.1, 40_000
    single = shared_and_own(k, samples, 10, alpha)
    batches = single.reshape(samples // k, k, -1).mean(1)
    found = measured(batches).pairwise.value
    expected = k * alpha / (1 + (k - 1) * alpha)
    assert found == pytest.approx(expected, abs=0.02)
    assert found / (k - (k - 1) * found) == pytest.approx(measured(single).pairwise.value, abs=0.005)


@quick
@given(seeds, st.integers(2, 10), st.integers(0, 30))
def test_zero_gradients_scale_alpha_by_the_share_of_the_others(seed: int, m: int, zeros: int) -> None:
    gradients = shared_and_own(seed, m, 4, 0.3)
    padded = np.concatenate([gradients, np.zeros((zeros, 4))])
    share = m / (m + zeros)
    assert measured(padded).alpha.value == pytest.approx(share * measured(gradients).alpha.value, **EXACT)


def test_pairwise_coherence_does_not_grow_with_the_sample_size_and_alpha_does_shrink() -> None:
    few, many = (measured(shared_and_own(3, m, 50, 0.05)) for m in (10, 4000))
    assert few.alpha.value > many.alpha.value + 0.05
    draws = [measured(shared_and_own(seed, 10, 50, 0.05)).pairwise.value for seed in range(400)]
    assert np.mean(draws) == pytest.approx(0.05, abs=4 * np.std(draws) / 20)
    assert many.pairwise.value == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("gradients", "reason"),
    [(np.ones((1, 3)), "found 1"), (np.ones((0, 3)), "found 0"), (np.zeros((4, 3)), "is zero")],
)
def test_what_has_no_coherence_is_skipped_with_its_reason(gradients: Array, reason: str) -> None:
    found = coherence("layer fc", *sums(gradients), len(gradients), NO_SPREAD)
    assert isinstance(found, Skipped)
    assert found.name == "coherence of layer fc"
    assert reason in found.reason


@quick
@given(gradient_sets, st.floats(-5, 5), st.floats(-5, 5))
def test_an_interval_contains_its_value_and_stays_in_range(gradients: Array, low: float, high: float) -> None:
    assume(gradients.any())
    found, m = measured(gradients, np.sort([low, high])), len(gradients)
    bounds = [(found.alpha, 0, 1), (found.m_coherence, 0, m), (found.pairwise, -1 / (m - 1), 1)]
    for estimate, least, most in bounds:
        assert estimate.low <= estimate.value <= estimate.high
        assert least <= estimate.low
        assert estimate.high <= max(most, estimate.value) * (1 + 1e-12)


@pytest.mark.parametrize("deviations", [(0.1, 0.2), (-0.2, -0.1)])
def test_an_interval_beside_its_value_is_drawn_up_to_it(deviations: tuple[float, float]) -> None:
    found = measured(shared_and_own(0, 20, 10, 0.3), np.array(deviations)).pairwise
    assert found.low == pytest.approx(found.value + min(deviations[0], 0))
    assert found.high == pytest.approx(found.value + max(deviations[1], 0))


def test_the_three_intervals_say_the_same() -> None:
    found = measured(shared_and_own(0, 20, 10, 0.3), np.array([-0.1, 0.05]))
    assert found.pairwise.low == pytest.approx(found.pairwise.value - 0.1)
    assert found.pairwise.high == pytest.approx(found.pairwise.value + 0.05)
    for end in ("low", "value", "high"):
        pairwise = getattr(found.pairwise, end)
        assert getattr(found.m_coherence, end) == pytest.approx(1 + 19 * pairwise)
        assert getattr(found.alpha, end) == pytest.approx((1 + 19 * pairwise) / 20)


# Intervals


def whole_gradients(gradients: Array) -> Gradients:
    return Gradients(gradients.astype(np.float32), np.ones(len(gradients)), np.arange(len(gradients)))


def interval(gradients: Array, seed: int = 0, resamples: int = 200) -> Array:
    resampling = Resampling(resamples, 0.9, seed)
    return interval_deviations(whole_gradients(gradients), [slice(None)], resampling)[-1]


@pytest.mark.parametrize("pairwise", [0.05, 0.3, 0.7])
def test_nine_of_ten_intervals_cover_the_true_coherence(pairwise: float) -> None:
    covered = []
    for seed in range(250):
        gradients = shared_and_own(seed, 60, 30, pairwise)
        found = measured(gradients, interval(gradients, seed)).pairwise
        covered.append(found.low <= pairwise <= found.high)
    assert 0.8 <= np.mean(covered) <= 0.97


def test_orthogonal_gradients_stay_at_zero_in_every_resample() -> None:
    # a pair of a sample with its own copy is no agreement: it would put the interval at 1/m = 0.025
    assert interval(np.eye(40)) == pytest.approx([0, 0], abs=1e-7)


def test_the_interval_of_unrelated_gradients_is_centered_at_zero() -> None:
    ends = np.array(
        [interval(np.random.default_rng(seed).normal(size=(40, 400)), seed) for seed in range(40)]
    )
    width = np.mean(ends[:, 1] - ends[:, 0])
    assert 0 < width < 0.02
    assert np.mean(ends) == pytest.approx(0, abs=width / 10)


def test_intervals_shrink_as_samples_grow() -> None:
    widths = [np.ptp(interval(shared_and_own(1, m, 20, 0.3))) for m in (30, 120, 480)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.4)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.4)


@quick
@given(seeds, st.floats(1e-25, 1e15))
def test_intervals_do_not_depend_on_the_common_scale(seed: int, scale: float) -> None:
    gradients = shared_and_own(seed, 20, 6, 0.3)
    assert interval(gradients * scale) == pytest.approx(interval(gradients), abs=1e-5)


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    gradients = shared_and_own(0, 30, 6, 0.3)
    assert interval(gradients, seed=5).tolist() == interval(gradients, seed=5).tolist()
    assert interval(gradients, seed=5).tolist() != interval(gradients, seed=6).tolist()


def test_each_part_has_the_interval_that_it_has_alone_and_the_last_is_the_whole() -> None:
    gradients = shared_and_own(0, 30, 6, 0.3).astype(np.float32)
    parts = [slice(0, 2), slice(2, 6)]
    resampling = Resampling(100, 0.9, 0)
    found = interval_deviations(whole_gradients(gradients), parts, resampling)
    alone = [
        interval_deviations(whole_gradients(gradients[:, p]), [slice(None)], resampling)[-1] for p in parts
    ]
    whole = interval_deviations(whole_gradients(gradients), [slice(None)], resampling)[-1]
    assert found == pytest.approx(np.stack([*alone, whole]), abs=1e-6)


def test_a_part_without_gradient_has_an_unknown_spread() -> None:
    gradients = shared_and_own(0, 30, 6, 0.3).astype(np.float32)
    gradients[:, :2] = 0
    found = interval_deviations(
        whole_gradients(gradients), [slice(0, 2), slice(2, 6)], Resampling(100, 0.9, 0)
    )
    assert found[0].tolist() == [-np.inf, np.inf]
    assert np.isfinite(found[1]).all()


def test_gradients_that_vanish_in_the_sketches_have_the_widest_interval() -> None:
    # energy from whole gradients, in float64, beside sketches that float32 has rounded to zero
    gradients = shared_and_own(0, 30, 6, 0.3)
    found = measured(gradients, interval(np.zeros((30, 6))))
    assert found.pairwise.low == pytest.approx(-1 / 29)
    assert found.pairwise.high == 1


@pytest.mark.parametrize("m", [2, MIN_RESAMPLED - 1])
def test_too_few_samples_have_the_widest_interval(m: int) -> None:
    gradients = shared_and_own(0, m, 6, 0.3)
    found = measured(gradients, interval(gradients))
    assert found.pairwise.low == pytest.approx(-1 / (m - 1))
    assert found.pairwise.high == 1
    assert (found.alpha.low, found.alpha.high) == pytest.approx((0, 1), abs=1e-12)


def test_resamples_of_a_single_sample_or_without_gradient_are_passed_over() -> None:
    # of 5 samples one resample in 625 holds only one; of two gradients among 6 samples, one in 11 none
    few = interval(shared_and_own(0, MIN_RESAMPLED, 6, 0.3), resamples=3000)
    lonely = interval(np.array([[1.0], [1], [0], [0], [0], [0]]))
    for low, high in (few, lonely):
        assert np.isfinite([low, high]).all()
        assert low < 0 < high


# Sketches and class cosines


@quick
@given(seeds, st.sampled_from([1e-300, 1e-30, 1.0, 1e30]))
def test_sketches_keep_their_proportions_at_any_scale(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    units = generator.normal(size=(8, 5)).astype(np.float32)
    norms = generator.uniform(0.1, 1, size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coherence_module, "SKETCHES_PER_BLOCK", 3)
        blocks = [block for _, block in Gradients(units, norms * scale, np.arange(8)).blocks()]
    assert [len(block) for block in blocks] == [3, 3, 2]
    found = np.concatenate(blocks)
    assert found.dtype == np.float32
    assert found == pytest.approx(units * (norms / norms.max())[:, None], rel=1e-6)


def test_sketches_of_samples_without_gradient_are_zero() -> None:
    (_, block), *rest = Gradients(np.ones((3, 2), np.float32), np.zeros(3), np.arange(3)).blocks()
    assert not block.any()
    assert not rest


def test_pairwise_coherence_takes_the_two_sums() -> None:
    assert pairwise_coherence(square_of_sum=9.0, sum_of_squares=3.0, samples=3) == 1.0
