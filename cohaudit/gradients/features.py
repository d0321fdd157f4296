"""What a layer sees of each sample, kept in a few numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Features:
    """One vector per sample, projected by random signs where it is long.

    Args:
        samples: N.
        size: Most numbers kept per sample.
        seed: Of the signs.

    Attributes:
        rows: What was kept, [N, any]; None before anything was.
    """

    def __init__(self, samples: int, size: int, seed: int) -> None:
        self._samples, self._size, self._seed = samples, size, seed
        self._projection: Tensor | None = None
        self.rows: NDArray[np.float32] | None = None

    def keep(self, indices: NDArray[np.int64], features: Tensor) -> None:
        """Keep the vectors of some samples, [batch, any]."""
        if features.shape[1] > self._size:
            if self._projection is None:
                generator = torch.Generator().manual_seed(self._seed)
                signs = torch.randint(0, 2, (features.shape[1], self._size), generator=generator)
                self._projection = (signs * 2 - 1).to(features) / self._size**0.5
            features = features @ self._projection
        if self.rows is None:
            self.rows = np.zeros((self._samples, features.shape[1]), dtype=np.float32)
        self.rows[indices] = features.float().cpu().numpy()
