"""The metric in which gradients are compared to say which samples support a label.

Most of what two gradients have in common, all samples share: directions that any of them would have taught. A
linear prediction of a sample's margin from the others weighs them by K (K + λI)⁻¹, with K the samples'
cosines: what many share counts less. These are inner products of whitened gradients, u (UᵀU + λI)⁻¹ uᵀ, as in
TRAK (Park et al., ICML 2023, arXiv 2303.14186, eq. 13) for margins instead of unit gradients. Compared with
retrained networks, they say better than plain cosines which samples raise a margin (`python -m
benchmarks.gradients.datamodeling`).

Arrays: N samples, D numbers per sketch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.nearest_neighbors import SAMPLES_PER_BLOCK, unit_rows

Sketches = NDArray[np.float32]


def whitening_metric(sketches: Sketches, ridge: float, weight: float = 1.0) -> Tensor:
    """Return λ (UᵀU + λI)⁻¹ for the sketches scaled to length 1, U; float32 [D, D].

    Args:
        sketches: Sketched loss gradients, at any scale per sample, [N, D]; possibly in a file.
        ridge: λ, above 0; in units of a sample's squared length.
        weight: How many samples each of them stands for.
    """
    samples, size = sketches.shape
    root = math.sqrt(weight)
    if samples < size:
        # the same by the block inverse: N × N is smaller
        rows = (unit_rows(sketches) * root).double()
        inner = rows @ rows.mT + ridge * torch.eye(samples, dtype=torch.float64)
        shared = rows.mT @ torch.cholesky_solve(rows, torch.linalg.cholesky(inner))
        return (torch.eye(size, dtype=torch.float64) - shared).float()
    gram = torch.zeros(size, size, dtype=torch.float64)
    for start in range(0, samples, SAMPLES_PER_BLOCK):
        block = slice(start, start + SAMPLES_PER_BLOCK)
        rows = unit_rows(sketches[block]) * root
        gram += (rows.mT @ rows).double()
    gram.diagonal().add_(ridge)
    return (ridge * torch.cholesky_inverse(torch.linalg.cholesky(gram))).float()
