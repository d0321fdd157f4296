"""Gradient neighbors: against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis import nearest_neighbors as neighboring
from cohaudit.analysis import neighbor_support
from cohaudit.analysis.forward_gradients import ForwardGradients
from cohaudit.analysis.neighbor_support import (
    expected_cosine_error,
    named_neighbors,
    neighborhood_support,
    sketched_cosine_error,
)
from cohaudit.results.thresholds import LEAF_COSINE, WHITENING_RIDGE

Array = NDArray[np.float64]


Integers = NDArray[np.int64]


Float32 = NDArray[np.float32]


seeds = st.integers(0, 2**32 - 1)


quick = settings(max_examples=40)


def gradients(seed: int, samples: int, size: int = 6) -> Float32:
    """Return gradients in a few clusters, so that cosines of all signs and sizes occur."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(4, size))
    rows = centers[generator.integers(4, size=samples)] + 0.7 * generator.normal(size=(samples, size))
    return rows.astype(np.float32)


def whitened(sketches: Float32, ridge: float = WHITENING_RIDGE) -> Array:
    """Return U (UᵀU + λI)^(−1/2) for rows U of length 1, in float64."""
    unit = sketches / np.linalg.norm(sketches, axis=1, keepdims=True).astype(np.float64)
    values, vectors = np.linalg.eigh(unit.T @ unit)
    found: Array = unit @ (vectors / np.sqrt(values + ridge)) @ vectors.T
    return found


def cosines(sketches: Float32 | Array) -> Array:
    """Return all cosines, in float64; 0 on the diagonal and with a row of zeros."""
    rows = sketches.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    rows /= np.where(norms > 0, norms, 1)[:, None]
    found = rows @ rows.T
    np.fill_diagonal(found, 0)
    return found


@quick
@given(seeds, st.integers(2, 30), st.integers(1, 40), st.integers(1, 9))
def test_support_is_the_mean_cosine_of_the_k_strongest_others(
    seed: int, samples: int, neighbors: int, rows_at_once: int
) -> None:
    sketches = gradients(seed, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighboring, "SAMPLES_PER_BLOCK", rows_at_once)
        patch.setattr(neighboring, "COSINES_PER_CHUNK", 2)
        found = neighborhood_support(sketches, neighbors)
    k = min(neighbors, samples - 1)
    for i, row in enumerate(cosines(sketches)):
        others = sorted(np.delete(row, i), key=abs, reverse=True)
        if k == len(others) or abs(others[k - 1]) - abs(others[k]) > 1e-5:
            assert found.support[i] == pytest.approx(np.mean(others[:k]), abs=1e-6)
        if min(abs(cosine - LEAF_COSINE) for cosine in others) > 1e-5:
            assert found.count[i] == sum(cosine > LEAF_COSINE for cosine in others)


@quick
@given(seeds, st.integers(2, 25), st.sampled_from([1e-30, 1e-18, 1.0, 1e18]))
def test_support_knows_neither_a_samples_own_scale_nor_its_place(
    seed: int, samples: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    sketches = gradients(seed, samples)
    order = generator.permutation(samples)
    own_scale = (generator.uniform(0.5, 2, size=(samples, 1)) * scale).astype(np.float32)
    # all others vote: which one is k-th may hang on the last digit
    plain = neighborhood_support(sketches, samples)
    changed = neighborhood_support((sketches * own_scale)[order], samples)
    assert changed.support == pytest.approx(plain.support[order], abs=2e-6)


def test_support_is_one_among_equals_and_never_more() -> None:
    # some of these pairs round to a cosine of 1.0000001
    found = neighborhood_support(np.repeat(gradients(0, 64, 50), 2, axis=0), 1)
    assert found.support == pytest.approx(np.ones(128))
    assert found.support.max() <= 1


def test_support_is_minus_one_between_two_opposites() -> None:
    row = gradients(0, 1, 50)
    assert neighborhood_support(np.concatenate([row, -row]), 5).support == pytest.approx([-1, -1])


def test_a_sample_without_gradient_has_no_support_and_no_leaf() -> None:
    sketches = gradients(0, 10)
    sketches[3] = 0
    found = neighborhood_support(sketches, 4)
    assert found.support[3] == 0
    assert found.count[3] == 0
    assert np.isfinite(found.support).all()


def test_a_wrong_label_is_fought_by_its_neighbors() -> None:
    # a sample that pulls against the nine others of its leaf, at a thousandth of their strength
    leaf = np.tile(gradients(0, 1), (10, 1)) + 0.01 * gradients(1, 10)
    leaf[4] *= -0.001
    support = neighborhood_support(leaf, 5).support
    assert support[4] < -0.95
    assert np.delete(support, 4).min() > 0.5


def linear(seed: int, samples: int, size: int = 6) -> ForwardGradients:
    """Return samples of two classes with views in a few clusters, and their networks' answers."""
    generator = np.random.default_rng(seed)
    given = generator.uniform(0.01, 0.99, samples).astype(np.float32)
    return ForwardGradients(
        [gradients(seed, samples, size), gradients(seed + 1, samples, 3)],
        np.stack([given, 1 - given], 1),
        generator.integers(2, size=samples),
    )


@quick
@given(seeds, st.integers(2, 20), st.integers(0, 25), st.integers(1, 4))
def test_supporters_and_opponents_are_the_brute_force_ones(
    seed: int, samples: int, count: int, rows_at_once: int
) -> None:
    stand_ins = linear(seed, samples)
    queries = np.sort(np.random.default_rng(seed).permutation(samples)[: samples // 2 + 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbor_support, "SAMPLES_PER_BLOCK", rows_at_once)
        found = named_neighbors(stand_ins, queries, count)
    expected_rows = cosines(whitened(stand_ins.rows(slice(None))))
    for i, row in enumerate(expected_rows):
        for side, sign in ((found.supporters, 1), (found.opponents, -1)):
            pairs = side.of(i, count)
            if i not in queries:
                assert pairs == []
                continue
            expected = sorted((sign * c for c in np.delete(row, i) if sign * c > 1e-5), reverse=True)[:count]
            assert [sign * c for _, c in pairs[: len(expected)]] == pytest.approx(expected, abs=1e-5)
            assert len(pairs) <= count
            assert side.of(i, 1) == pairs[:1]
            for j, cosine in pairs:
                assert j != i
                assert sign * cosine > 0
                assert row[j] == pytest.approx(cosine, abs=1e-5)


def test_the_cosine_of_a_duplicate_is_one_and_not_more() -> None:
    one = linear(0, 64, 600)
    twice = ForwardGradients(
        [np.repeat(view, 2, axis=0) for view in one.views],
        np.repeat(one.probability, 2, axis=0),
        np.repeat(one.labels, 2),
    )
    found = named_neighbors(twice, np.arange(128), 1).supporters
    assert found.indices[:, 0].tolist() == [i ^ 1 for i in range(128)]
    assert ((found.cosines > 1 - 1e-5) & (found.cosines <= 1)).all()


def test_equal_samples_have_no_opponents() -> None:
    views = np.tile(gradients(5, 1), (3, 1))
    equal = ForwardGradients([views], np.full((3, 2), 0.5, np.float32), np.zeros(3, dtype=np.int64))
    found = named_neighbors(equal, np.arange(3), 5)
    assert sorted(j for j, _ in found.supporters.of(1, 5)) == [0, 2]
    assert found.opponents.of(1, 5) == []


def test_a_sample_that_no_layer_sees_has_no_neighbors() -> None:
    stand_ins = linear(0, 10)
    for view in stand_ins.views:
        view[3] = 0
    found = named_neighbors(stand_ins, np.arange(10), 9)
    assert found.supporters.of(3, 9) == found.opponents.of(3, 9) == []
    assert not (found.supporters.indices == 3).any()


def test_whitening_by_some_samples_names_the_same_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins = linear(0, 3000)
    queries = np.arange(0, 3000, 100)
    whole = named_neighbors(stand_ins, queries, 5)
    monkeypatch.setattr(neighbor_support, "METRIC_SAMPLES", 1000)
    some = named_neighbors(stand_ins, queries, 5)
    assert some.supporters.cosines == pytest.approx(whole.supporters.cosines, abs=0.02)
    assert some.opponents.cosines == pytest.approx(whole.opponents.cosines, abs=0.02)


@pytest.mark.parametrize("kept", [64, 512])
def test_the_error_of_a_sketched_cosine_is_estimated_from_norms(kept: int) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 5000))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    signs = generator.choice([-1.0, 1.0], size=(5000, kept)) / np.sqrt(kept)
    sketches = (rows @ signs).astype(np.float32)
    errors = (cosines(sketches) - cosines(rows.astype(np.float32)))[np.triu_indices(300, 1)]
    estimated = sketched_cosine_error(3 * sketches, np.arange(300), np.full(300, 9.0))
    assert estimated == pytest.approx(np.sqrt(np.square(errors).mean()), rel=0.1)
    assert estimated == pytest.approx(1 / np.sqrt(kept), rel=0.1)


def test_sketches_that_keep_everything_have_no_error() -> None:
    rows = gradients(0, 20)
    assert sketched_cosine_error(rows, np.arange(20), np.square(rows.astype(np.float64)).sum(1)) < 1e-7
    assert sketched_cosine_error(rows, np.arange(0), np.zeros(0)) == 0


@pytest.mark.parametrize("words", [1, 3, 10])
def test_the_error_of_sparse_gradients_is_not_estimated_as_none(words: int) -> None:
    generator = np.random.default_rng(words)
    kept, size, samples = 256, 4000, 300
    rows = np.zeros((samples, size))
    for row in rows:
        row[generator.choice(size, words, replace=False)] = generator.normal(size=words)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    # a count sketch: every entry has one place, and one sign
    signs = np.zeros((size, kept))
    signs[np.arange(size), generator.integers(kept, size=size)] = generator.choice([-1.0, 1.0], size=size)
    sketches = (rows @ signs).astype(np.float32)
    errors = (sketches @ sketches.T - rows @ rows.T)[np.triu_indices(samples, 1)]
    measured = np.sqrt(np.square(errors).mean())
    assert expected_cosine_error(np.ones((samples, 1)), np.array([kept])) == pytest.approx(measured, rel=0.2)
    by_norms = sketched_cosine_error(sketches, np.arange(samples), np.ones(samples))
    assert words > 1 or by_norms < 1e-6 < measured / 10


def test_a_part_that_is_stored_whole_adds_no_error_to_a_cosine() -> None:
    squares = np.array([[1.0, 3.0], [3.0, 1.0]])
    assert expected_cosine_error(squares, np.array([100, np.inf])) == pytest.approx(0.05)
    assert expected_cosine_error(squares, np.array([np.inf, np.inf])) == 0
    assert expected_cosine_error(squares[:0], np.array([100, np.inf])) == 0
