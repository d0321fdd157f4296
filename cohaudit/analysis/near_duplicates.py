"""Near-duplicates: samples that every layer sees alike.

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


DUPLICATE_DISTANCE_RATIO = 0.05
"""Near-duplicates must also be this many times nearer than usual (1 − cosine to the nearest sample, median
over all samples): in a table of two columns, every row has others in nearly the same direction."""

COSINE_ROUNDING = 5e-7
"""Largest 1 − cosine of two equal rows in float32, by rounding."""

CANDIDATES_PER_SAMPLE = 4
"""Nearest samples checked for each sample: of several in the same direction, the first may be farther
away."""


@dataclass(frozen=True)
class SimilarityIndex:
    """Which samples are near-duplicates of each other.

    Attributes:
        rows: One vector per sample, whose cosines approximate the mean cosines of the views; float32, of
            length 1 or all zeros, [N, width of the widest view].
        lengths: Logarithm of the length of each centered view, [N, V].
        margin: Largest 1 − cosine of near-duplicates; lengths may differ by as much as directions.
        duplicate_of: Index of the most similar near-duplicate, −1 if there is none, [N].
    """

    rows: Tensor
    lengths: Tensor
    margin: float
    duplicate_of: Integers

    def nearly_same(self, sample: int, others: Sequence[int]) -> list[bool]:
        """Return which of the others are near-duplicates of a sample.

        Args:
            sample: Index of the sample.
            others: Indices of the samples to compare it with.
        """
        cosines = self.rows[list(others)] @ self.rows[sample]
        near = _near(cosines, self.lengths[list(others)], self.lengths[sample], self.margin)
        same: list[bool] = near.tolist()
        return same


def compare_views(views: Sequence[Floats]) -> SimilarityIndex:
    """Compare all pairs of samples by what the layers see of them.

    Args:
        views: What each layer sees of the samples, [N, any] each; at least one.
    """
    rows, lengths = joint_view(views)
    nearest = strongest_cosines(rows.numpy(), CANDIDATES_PER_SAMPLE, DUPLICATE_COSINE, opponents=False)
    # how near the nearest sample usually is, in these data: the scale for "nearer than usual"
    usual = float((1 - nearest.positive[:, 0]).median())
    margin = max(COSINE_ROUNDING, min(1 - DUPLICATE_COSINE, DUPLICATE_DISTANCE_RATIO * usual))
    near = _near(nearest.positive, lengths[nearest.supporters], lengths[:, None], margin)
    near &= nearest.positive > 0
    # argmax gives the first True, and candidates are sorted by cosine
    first = near.int().argmax(1, keepdim=True)
    twin = nearest.supporters.gather(1, first).where(near.any(1, keepdim=True), -1)
    return SimilarityIndex(rows, lengths, margin, twin[:, 0].numpy())


def _near(cosines: Tensor, lengths: Tensor, other: Tensor, margin: float) -> Tensor:
    """Return which pairs are near both in direction and in length.

    Two unit vectors with 1 − cosine = margin are √(2 margin) apart, and lengths may differ by as large a
    factor.
    """
    difference = (lengths - other).abs().mean(-1)
    near: Tensor = (1 - cosines <= margin) & (difference <= (2 * margin) ** 0.5)
    return near


def joint_view(views: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """Return one vector per sample, and the lengths that it does not hold; see `SimilarityIndex`.

    The views' centered rows of length 1 are added with random signs, at random positions, as a sketch of the
    concatenated views: its inner products have the correct mean, and equal rows stay equal. A length of 0
    counts as the smallest normal number, so that its logarithm is finite.

    Args:
        views: What layers see of the samples, [N, any] each; at least one.
    """
    # a fixed seed, not the user's: which samples are duplicates must not depend on it
    generator = torch.Generator().manual_seed(0)
    size = max(view.shape[1] for view in views)
    total = torch.zeros(len(views[0]), size)
    lengths = []
    for view in views:
        width = view.shape[1]
        signs = torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1
        places = torch.randperm(size, generator=generator)[:width]
        # all samples share the mean activation: with it, every cosine would be near 1
        centered = view - view.mean(0)
        total[:, places] += unit_rows(centered) * signs
        # direction alone would make a dark and a bright copy of the same image duplicates
        lengths.append(torch.linalg.vector_norm(torch.from_numpy(centered), dim=1, dtype=torch.float64))
    smallest = torch.finfo(torch.float64).tiny
    return unit_rows(total.numpy()), torch.stack(lengths, 1).clamp_min(smallest).log()
