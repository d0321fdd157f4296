"""Typed digits are the quantiles that they are said to be."""

from __future__ import annotations

from statistics import NormalDist

import pytest
from scipy.stats import chi2, norm

from cohaudit.analysis.quantiles import CHI2_95, Z_80, Z_90


def test_the_digits_are_those_of_the_quantiles() -> None:
    assert norm.ppf(0.9) == Z_80
    assert norm.ppf(0.95) == Z_90
    assert chi2.ppf(0.95, 1) == CHI2_95
    assert NormalDist().inv_cdf(0.9) == pytest.approx(Z_80, rel=1e-14)
    assert NormalDist().inv_cdf(0.95) == pytest.approx(Z_90, rel=1e-14)
