"""The stability bound: against a loop over single steps, and as a number that never falls."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.audits.training.stability_bound import Segment, stability
from cohaudit.results import Skipped

NONE = Skipped("gap of the losses", "none was given")


STRETCHES = st.lists(
    st.builds(
        Segment,
        checkpoint=st.just("ckpt"),
        steps=st.integers(1, 30),
        rate=st.floats(1e-4, 1),
        alpha=st.floats(0, 0.99),
        smoothness=st.floats(0, 5),
        lipschitz=st.floats(0.1, 10),
        measured=st.just(NONE),
    ),
    min_size=1,
    max_size=6,
)


@given(STRETCHES, st.integers(2, 5000))
def test_it_is_the_sum_over_single_steps(stretches: list[Segment], samples: int) -> None:
    found = stability(stretches, samples)
    bound, flat, largest = 0.0, 0.0, 0.0
    for own, term in zip(stretches, found.terms, strict=True):
        largest = max(largest, own.lipschitz)
        for _ in range(own.steps):
            step = own.rate * math.sqrt(2 * (1 - own.alpha))
            bound = bound * (1 + own.rate * own.smoothness) + step
            flat += step
        scale = largest**2 / samples
        assert term.log10_bound == pytest.approx(math.log10(scale * bound), abs=1e-5)
        assert term.total == pytest.approx(scale * flat, rel=1e-9)


@given(STRETCHES, st.integers(2, 5000))
def test_it_never_falls(stretches: list[Segment], samples: int) -> None:
    terms = stability(stretches, samples).terms
    for before, after in itertools.pairwise(terms):
        assert after.total >= before.total
        assert after.log10_bound >= before.log10_bound - 1e-9


def test_a_bound_beyond_any_float_is_given_by_its_power() -> None:
    far = Segment("ckpt", 100_000, 0.1, 0.5, 50.0, 1.0, NONE)
    (term,) = stability([far], 10).terms
    assert term.log10_bound == pytest.approx(100_000 * math.log10(6), rel=1e-3)


def test_gradients_that_are_all_equal_add_nothing() -> None:
    same = Segment("ckpt", 10, 0.1, 1.0, 1.0, 1.0, NONE)
    assert stability([same], 10).terms[0].total == 0


def test_a_rate_that_falls_to_nothing_lets_the_bound_stand() -> None:
    first = Segment("a", 10, 0.1, 0.2, 1.0, 1.0, NONE)
    same = Segment("b", 10, 0.1, 1.0, 0.0, 1.0, NONE)  # gradients all equal: nothing is added
    terms = stability([first, same], 10).terms
    assert terms[1].log10_bound == pytest.approx(terms[0].log10_bound)
