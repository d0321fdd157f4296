"""Nearest neighbors by cosine."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

BLOCK = 1024
"""Samples compared with all others at once: the memory is 4 bytes × BLOCK × samples."""


def nearest_neighbors(features: NDArray[np.float32], count: int) -> tuple[Tensor, Tensor]:
    """Return the samples nearest to each one by cosine, without itself, and their cosines.

    Args:
        features: [N, F].
        count: Number of neighbors; all others where there are fewer.

    Returns:
        Positions, int64 [N, count], nearest first, and cosines, float32 [N, count].
    """
    unit = F.normalize(torch.from_numpy(features), dim=1)
    count = min(count, len(unit) - 1)
    found = []
    for start in range(0, len(unit), BLOCK):
        cosines = unit[start : start + BLOCK] @ unit.mT
        rows = torch.arange(len(cosines))
        cosines[rows, start + rows] = -torch.inf
        found.append(cosines.topk(count, dim=1))
    return torch.cat([top.indices for top in found]), torch.cat([top.values for top in found])
