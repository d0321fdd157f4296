"""Unit rows at any scale; the strongest cosines are tested through the support that they give."""

from __future__ import annotations

import numpy as np
import pytest

from cohaudit.analysis.nearest_neighbors import unit_rows


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e30])
def test_rows_of_any_scale_become_unit_rows(scale: float) -> None:
    rows = unit_rows((np.array([[3.0, -4.0]]) * scale).astype(np.float32))
    assert rows.numpy() == pytest.approx(np.array([[0.6, -0.8]]), rel=0.1 if scale == 1e-44 else 1e-6)
