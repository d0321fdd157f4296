"""What every detector returns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""One score per sample, higher where its label is more likely wrong: float64 [samples]."""
Scores = dict[str, Array]
"""Scores by the name of the method."""
