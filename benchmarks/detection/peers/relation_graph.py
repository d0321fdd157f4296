"""Neural Relation Graph: labels that contradict related samples.

Kim, Yun & Song, "Neural Relation Graph: A Unified Framework for Identifying Label Noise and Outlier Data",
NeurIPS 2023.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.detection.scores import Array

BLOCK = 1024
"""Samples related to all others at once: the memory is some 12 bytes × BLOCK × samples."""
POWER = 4
"""Power t of the kernel: the authors' choice for images and texts."""
CUT = 0.03
"""Relations that are weaker are taken for none: the authors' default."""
ACCUSED = 0.05
"""Samples whose score is below −ACCUSED times the largest one change sides in the refinement: their λ."""


def relation_graph(
    features: NDArray[np.float32], probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> Array:
    """Return minus the label reliability, one step refined.

    A relation is max(0, cos(f_i, f_j)) · ⟨p_i, p_j⟩, positive where the labels agree and negative where not.
    The reliability of a label is the sum of its relations to the power t. Samples of low reliability, N, are
    then taken for wrong, and all relations with them count the other way: s − 2 Σ_{j in N} r_ij.

    Args:
        features: f, [N, F].
        probabilities: p, [N, C].
        labels: [N].
    """
    unit = F.normalize(torch.from_numpy(features), dim=1)
    p = torch.from_numpy(probabilities).float()
    y = torch.from_numpy(labels)
    reliability = _relations(unit, p, y, torch.ones(len(y), dtype=torch.bool))
    accused = reliability < -ACCUSED * reliability.abs().max()
    return (2 * _relations(unit, p, y, accused) - reliability).numpy()


def _relations(unit: Tensor, p: Tensor, y: Tensor, chosen: Tensor) -> Tensor:
    """Return the sum of each sample's relations with the chosen ones, float64 [N]."""
    others = unit[chosen].mT
    p_others = p[chosen].mT
    sums = []
    for start in range(0, len(y), BLOCK):
        rows = slice(start, start + BLOCK)
        kernel = (unit[rows] @ others).clamp_min_(0).mul_(p[rows] @ p_others)
        strength = torch.where(kernel > CUT, kernel**POWER, 0)
        agree = y[rows, None] == y[chosen]
        sums.append(torch.where(agree, strength, -strength).sum(1, dtype=torch.float64))
    return torch.cat(sums)
