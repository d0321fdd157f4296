"""The interval of a share is Wilson's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cohaudit.analysis.quantiles import Z_90
from cohaudit.analysis.shares import wilson_interval


@given(st.integers(1, 5000), st.data())
def test_it_is_that_of_scipy(samples: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, samples))
    expected = binomtest(hits, samples).proportion_ci(0.9, method="wilson")
    found = wilson_interval(hits / samples, samples, Z_90)
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)
    assert found.low <= found.value <= found.high
