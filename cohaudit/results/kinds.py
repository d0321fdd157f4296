"""The kinds of samples, by name and by number."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

SAMPLE_KINDS = ("typical", "mislabeled", "ambiguous", "rare", "duplicate")
"""What a sample can be, in the order of the numbers below."""

TYPICAL = 0
"""Number of the kind "typical": its position in `SAMPLE_KINDS`."""

MISLABELED = 1
"""Number of the kind "mislabeled"."""

AMBIGUOUS = 2
"""Number of the kind "ambiguous"."""

RARE = 3
"""Number of the kind "rare"."""

DUPLICATE = 4
"""Number of the kind "duplicate"."""

MEMORIZED = 0.5
"""Memorization from which a sample counts as memorized: its label is then more likely given because the
network saw the sample than because other samples support it."""

REVIEWED = "reviewed"
"""Kind of a sample that would be a suspect, had a person not confirmed its label (a suppression)."""

# a Literal takes no computed values, so that the kinds stand here again
KindName = Literal["", "typical", "mislabeled", "ambiguous", "rare", "duplicate", "reviewed"]
"""What the table of samples can say of a sample; empty when no sample was judged."""


def is_memorized(memorization: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which samples count as memorized, [N]; one of unknown memorization, NaN, does not.

    Args:
        memorization: Memorization of each sample, 0 to 1 or NaN, [N].
    """
    # a comparison with NaN is False
    return memorization >= MEMORIZED
