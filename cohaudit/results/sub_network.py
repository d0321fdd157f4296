"""Sub-networks: the fewest units of a layer that hold a share of its coherent energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SUB_NETWORK_SHARES = (0.9, 0.99)
"""Shares of the coherent energy that the sub-networks hold."""


def smallest_set(energy: Sequence[float] | NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return the fewest units that hold a share of the energy, ascending; all units if there is no energy.

    Args:
        energy: Energy of each unit, 0 or more, [units].
        share: Share of the total energy, in (0, 1].
    """
    values = np.asarray(energy, dtype=np.float64)
    # stable, so that equal units are chosen in their order
    order = np.argsort(-values, kind="stable")
    held = np.cumsum(values[order])
    if not len(held) or not held[-1]:
        return np.arange(len(values))
    # rounding must not require more energy than there is
    count = int(np.searchsorted(held, share * held[-1] * (1 - 1e-12))) + 1
    return np.sort(order[:count])
