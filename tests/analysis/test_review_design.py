"""Which labels are asked about: spread along the order, the same ones first, as often as stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.review_design import EVEN_SHARE, design_review
from cohaudit.results.sample_table import order_by_suspicion

SEEDS = st.integers(0, 2**32 - 1)


def scan(count: int, seed: int, ties: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities and evidence of a scan."""
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.3, 3, count)
    return np.round(probability, 1) if ties else probability, generator.normal(size=count)


@given(st.integers(1, 400), st.integers(0, 80), SEEDS, st.booleans())
def test_each_is_asked_once_and_a_longer_review_asks_the_same_first(
    count: int, size: int, seed: int, ties: bool
) -> None:
    claims = scan(count, seed, ties)
    asked = design_review(*claims, size, seed).samples
    assert len(asked) == len(set(asked.tolist())) == min(size, count)
    longer = design_review(*claims, size + 20, seed).samples
    assert longer[: len(asked)].tolist() == asked.tolist()
    assert design_review(*claims, size, seed).samples.tolist() == asked.tolist()


@given(st.integers(1, 300), st.integers(1, 60), SEEDS)
def test_samples_that_were_asked_about_are_left_out(count: int, size: int, seed: int) -> None:
    claims = scan(count, seed)
    skip = np.random.default_rng(seed).random(count) < 0.3
    design = design_review(*claims, size, seed, skip)
    assert not skip[design.samples].any()
    assert len(design.samples) == min(size, int((~skip).sum()))
    assert (design.inclusion[skip] == 0).all()


@given(st.integers(1, 500), st.integers(1, 60), SEEDS)
def test_the_expected_number_of_questions_is_their_number(count: int, size: int, seed: int) -> None:
    inclusion = design_review(*scan(count, seed), size, seed).inclusion
    assert inclusion.sum() == pytest.approx(min(size, count))
    assert inclusion.min() >= EVEN_SHARE * min(size, count) / count - 1e-12


def test_samples_are_asked_as_often_as_stated() -> None:
    claims = scan(400, 3)
    seeds = 800
    asked = np.zeros(400)
    for seed in range(seeds):
        asked[design_review(*claims, 40, seed).samples] += 1
    stated = design_review(*claims, 40, 0).inclusion
    # in groups of 20 ranks: a sample that is drawn twice gives its turn to a neighbor
    groups = order_by_suspicion(*claims).reshape(20, 20)
    often, expected = asked[groups].sum(1) / seeds, stated[groups].sum(1)
    assert expected.max() > 4 * expected.min()
    np.testing.assert_allclose(often[1:], expected[1:], rtol=0.15)
    assert often[0] <= 1.02 * expected[0]


@given(SEEDS, st.integers(30, 60))
def test_no_long_part_of_the_order_goes_unasked(seed: int, size: int) -> None:
    claims = scan(2000, seed)
    ranks = np.empty(2000)
    ranks[order_by_suspicion(*claims)] = np.arange(2000)
    at = np.sort(ranks[design_review(*claims, size, seed).samples])
    gaps = np.diff(np.concatenate([[-1], at, [2000]]))
    # a van der Corput sequence leaves no gap above twice the mean one; the density is at least EVEN_SHARE
    assert gaps.max() <= 2 * 2000 / (EVEN_SHARE * size) + 2
    assert at[0] < 20


def test_no_question_is_asked_of_nothing() -> None:
    empty = np.zeros(0)
    assert len(design_review(empty, empty, 50, 0).samples) == 0
    assert len(design_review(np.zeros(3), np.zeros(3), 50, 0, np.ones(3, dtype=bool)).samples) == 0
