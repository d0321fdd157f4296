"""Samples that every layer sees alike: copies, and what a person would take for one.

Arrays: N samples, V views. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.nearest_neighbors import strongest_cosines, unit_rows
from cohaudit.results.thresholds import DUPLICATE_COSINE

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

FAR_NEARER = 0.05
"""Near-duplicates are also nearer than so many times what is usual (1 − cosine of the nearest, median over
the samples): in a table of two columns, every row has others in nearly the same direction."""
ROUNDING = 5e-7
"""What 1 − cosine of two equal rows may come to in float32."""
CANDIDATES = 4
"""Nearest samples that are looked at: of those in the same direction, the first may be further out."""


@dataclass(frozen=True)
class SimilarityIndex:
    """What tells whether two samples are nearly the same.

    Attributes:
        rows: One vector a sample, whose cosines are the mean cosines of the views, about; float32 of length
            1, or of zeros, [N, width of the widest view].
        lengths: Logarithm of the length of each centered view, [N, V].
        margin: Largest 1 − cosine of what is nearly the same; lengths may differ by as much as directions.
        duplicate_of: The most alike other sample where it is nearly the same, −1 where there is none, [N].
    """

    rows: Tensor
    lengths: Tensor
    margin: float
    duplicate_of: Integers

    def nearly_same(self, sample: int, others: Sequence[int]) -> list[bool]:
        """Return which of the others are nearly the same as a sample."""
        cosines = self.rows[list(others)] @ self.rows[sample]
        found: list[bool] = _near(
            cosines, self.lengths[list(others)], self.lengths[sample], self.margin
        ).tolist()
        return found


def likeness(views: Sequence[Floats]) -> SimilarityIndex:
    """Compare all pairs of samples by what the layers see of them.

    Args:
        views: [N, any] each; at least one.
    """
    rows, lengths = joint_view(views)
    found = strongest_cosines(rows.numpy(), CANDIDATES, DUPLICATE_COSINE, opponents=False)
    usual = float((1 - found.positive[:, 0]).median())
    margin = max(ROUNDING, min(1 - DUPLICATE_COSINE, FAR_NEARER * usual))
    near = _near(found.positive, lengths[found.supporters], lengths[:, None], margin) & (found.positive > 0)
    first = near.int().argmax(1, keepdim=True)
    twin = found.supporters.gather(1, first).where(near.any(1, keepdim=True), -1)
    return SimilarityIndex(rows, lengths, margin, twin[:, 0].numpy())


def _near(cosines: Tensor, lengths: Tensor, other: Tensor, margin: float) -> Tensor:
    """Return where two samples are as near in direction as in length: a chord of √(2 margin) in both."""
    apart = (lengths - other).abs().mean(-1)
    near: Tensor = (1 - cosines <= margin) & (apart <= (2 * margin) ** 0.5)
    return near


def joint_view(views: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """Return one vector a sample and the lengths that it does not hold, see `SimilarityIndex`.

    The views' centered rows of length 1 are added with random signs, in random places, as a sketch of the
    views side by side: its inner products have the right mean, and equal rows stay equal. The logarithm of
    a length of 0 is that of the smallest number.

    Args:
        views: What layers see of the samples, [N, any] each; at least one.
    """
    generator = torch.Generator().manual_seed(0)
    size = max(view.shape[1] for view in views)
    total = torch.zeros(len(views[0]), size)
    lengths = []
    for view in views:
        width = view.shape[1]
        signs = torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1
        places = torch.randperm(size, generator=generator)[:width]
        centered = view - view.mean(0)
        total[:, places] += unit_rows(centered) * signs
        lengths.append(torch.linalg.vector_norm(torch.from_numpy(centered), dim=1, dtype=torch.float64))
    smallest = torch.finfo(torch.float64).tiny
    return unit_rows(total.numpy()), torch.stack(lengths, 1).clamp_min(smallest).log()
