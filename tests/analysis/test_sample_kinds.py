"""Kinds of samples: on probabilities where they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.results.kinds import SAMPLE_KINDS

quick = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def kind_of(expected: list[float], suspicion: float, twin: int = -1) -> tuple[str, float]:
    """Return the kind of a sample of class 0 among others."""
    names, certainty = kinds_of(
        np.array([expected]),
        np.array([0]),
        np.array([suspicion]),
        np.array([suspicion >= 0.5]),
        np.array([twin]),
    )
    return str(names[0]), float(certainty[0])


def test_a_sample_whose_label_the_others_give_is_typical() -> None:
    assert kind_of([0.9, 0.05, 0.03, 0.02], 0.1) == ("typical", pytest.approx(0.9 * 0.9))


def test_a_suspect_is_mislabeled_as_surely_as_it_is_suspect() -> None:
    assert kind_of([0.0, 0.5, 0.5, 0.0], 0.7) == ("mislabeled", 0.7)


def test_a_sample_between_two_labels_is_ambiguous() -> None:
    assert kind_of([0.4, 0.6, 0.0, 0.0], 0.2) == ("ambiguous", pytest.approx(0.8 * 0.6))


def test_a_sample_that_the_others_know_nothing_of_is_rare() -> None:
    assert kind_of([0.25, 0.25, 0.25, 0.25], 0.0) == ("rare", pytest.approx(0.75))


def test_of_two_classes_nothing_is_rare() -> None:
    assert kind_of([0.3, 0.7], 0.1) == ("ambiguous", pytest.approx(0.9 * 0.7))


def test_a_twin_is_a_duplicate_unless_its_label_is_suspect() -> None:
    assert kind_of([0.9, 0.1, 0, 0], 0.0, twin=3) == ("duplicate", 1.0)
    assert kind_of([0.1, 0.9, 0, 0], 0.8, twin=3) == ("mislabeled", 0.8)


@quick
@given(seeds, st.integers(2, 6))
def test_every_sample_is_of_one_kind_with_a_probability(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    expected, suspicion = generator.dirichlet(np.ones(classes), 50), generator.random(50)
    twins = np.where(generator.random(50) < 0.1, 1, -1)
    names, certainty = kinds_of(
        expected, generator.integers(classes, size=50), suspicion, suspicion > 0.4, twins
    )
    assert set(names) <= set(SAMPLE_KINDS)
    assert ((certainty >= 0) & (certainty <= 1)).all()
    assert ((names == "mislabeled") == (suspicion > 0.4)).all()
