"""An interval that holds the error of an estimated energy too."""

from __future__ import annotations

import numpy as np
import pytest

from cohaudit.analysis.coherence import with_energy_error


def test_the_error_reaches_beyond_the_value_on_both_sides() -> None:
    assert with_energy_error(np.array([-0.03, 0.04]), 0.5, 0.0) == pytest.approx([-0.03, 0.04])
    assert with_energy_error(np.array([-0.03, 0.04]), 0.5, 0.08) == pytest.approx(
        [-0.05, np.hypot(0.04, 0.04)]
    )
    # a bootstrap that misses the value on one side
    assert with_energy_error(np.array([0.01, 0.05]), 0.5, 0.1) == pytest.approx([-0.05, np.hypot(0.05, 0.05)])
    assert with_energy_error(np.array([-np.inf, np.inf]), 0.5, 0.1).tolist() == [-np.inf, np.inf]
