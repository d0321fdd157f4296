"""Isotonic regression against scikit-learn's and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression

from cohaudit.analysis.isotonic import decreasing_steps, decreasing_with

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)


@quick
@given(seeds, st.integers(1, 60))
def test_the_decreasing_step_function_is_the_isotonic_regression(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    part, mass = generator.random(size), generator.uniform(0.1, 2, size)
    expected = (
        IsotonicRegression(increasing=False).fit(np.arange(size), part / mass, mass).predict(np.arange(size))
    )
    found = decreasing_steps(part, mass)
    assert found == pytest.approx(expected)
    assert found == pytest.approx(
        isotonic_regression(part / mass, weights=mass, increasing=False).x, rel=1e-12
    )


@quick
@given(seeds)
def test_probabilities_that_fall_with_the_evidence_keep_their_mean(seed: int) -> None:
    generator = np.random.default_rng(seed)
    evidence, probability = generator.permutation(40).astype(float), generator.random(40)
    fitted = decreasing_with(evidence, probability)
    isotonic = IsotonicRegression(increasing=False).fit_transform(evidence, probability)
    np.testing.assert_allclose(fitted, isotonic)
    assert fitted.mean() == pytest.approx(probability.mean())
