"""Log-odds and probabilities are each other's inverse, at any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.analysis.log_odds import log_odds, probability_of


@given(st.floats(-1e300, 1e300))
def test_any_odds_are_a_probability_and_small_ones_come_back(odds: float) -> None:
    p = float(probability_of(odds))
    assert 0 <= p <= 1
    assert p + float(probability_of(-odds)) == pytest.approx(1)
    if -700 < odds < 10:
        assert float(log_odds(p)) == pytest.approx(odds, rel=1e-9, abs=1e-9)


def test_values_by_hand_and_shapes() -> None:
    assert float(log_odds(0.8)) == pytest.approx(math.log(4))
    np.testing.assert_allclose(probability_of(np.log([[1.0], [3.0]])), [[0.5], [0.75]])
