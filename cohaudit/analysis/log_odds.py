"""Log-odds of probabilities, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST_EXPONENT = 700.0
"""Log-odds are cut off here: the exponential of a little more, 709.8, is the largest float64."""


def log_odds(probability: Array | float) -> Array:
    """Return ln(p / (1 − p)), exact for small p too.

    Args:
        probability: Probabilities, above 0 and below 1, any shape.
    """
    p = np.asarray(probability, dtype=np.float64)
    odds: Array = np.log(p) - np.log1p(-p)
    return odds


def probability_of(odds: Array | float) -> Array:
    """Return 1 / (1 + e^−z), the probability of which z are the log-odds.

    Args:
        odds: Log-odds, any shape.
    """
    z = np.clip(np.asarray(odds, dtype=np.float64), -LARGEST_EXPONENT, LARGEST_EXPONENT)
    probability: Array = 1 / (1 + np.exp(-z))
    return probability
