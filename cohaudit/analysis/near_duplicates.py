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

from cohaudit.analysis.nearest_neighbors import nearest, strongest_cosines, unit_rows
from cohaudit.analysis.neighbor_forest import near_pairs
from cohaudit.arrays import allocate, blocks_of, release
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


EXACT_SAMPLES = 8192
"""Samples up to which all pairs are compared: some seconds. Of more, pairs are found by a forest."""

SAMPLED = 2048
"""Of more samples, those compared with all others: they tell how near the nearest one usually is, and what
share of near-duplicates the forest finds."""


@dataclass(frozen=True)
class SearchRecall:
    """How many near-duplicates a search finds.

    Attributes:
        samples: Samples that were compared with all others.
        duplicates: Those of them that have a near-duplicate.
        found: Those of these for which the search found one.
    """

    samples: int
    duplicates: int
    found: int


@dataclass(frozen=True)
class SimilarityIndex:
    """Which samples are near-duplicates of each other.

    Attributes:
        rows: One vector per sample, whose cosines approximate the mean cosines of the views; float32, of
            length 1 or all zeros, [N, width of the widest view].
        lengths: Logarithm of the length of each centered view, [N, V].
        margin: Largest 1 − cosine of near-duplicates; lengths may differ by as much as directions.
        duplicate_of: Index of the most similar near-duplicate, −1 if there is none, [N].
        recall: How many near-duplicates were found; None if all pairs were compared.
    """

    rows: Tensor
    lengths: Tensor
    margin: float
    duplicate_of: Integers
    recall: SearchRecall | None = None

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
    """Find near-duplicates by what the layers see of the samples: among all pairs, or by a forest.

    Args:
        views: What each layer sees of the samples, [N, any] each; at least one.
    """
    rows, lengths = joint_view(views)
    if len(rows) > EXACT_SAMPLES:
        return _search(rows, lengths)
    compared = strongest_cosines(rows.numpy(), CANDIDATES_PER_SAMPLE, DUPLICATE_COSINE, opponents=False)
    margin = _margin(compared.positive)
    twins = _twins(torch.arange(len(rows)), compared.positive, compared.supporters, lengths, margin)
    return SimilarityIndex(rows, lengths, margin, twins.numpy())


def _search(rows: Tensor, lengths: Tensor) -> SimilarityIndex:
    # a fixed seed, not the user's: which samples are duplicates must not depend on it
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(len(rows), generator=generator)[:SAMPLED].sort().values
    cosines, others = nearest(rows, some, CANDIDATES_PER_SAMPLE)
    margin = _margin(cosines)
    twins = _twins(some, cosines, others, lengths, margin)
    duplicate_of = _by_forest(rows, lengths, margin)
    duplicates = some[twins >= 0].numpy()
    recall = SearchRecall(len(some), len(duplicates), int((duplicate_of[duplicates] >= 0).sum()))
    # of these samples more is known
    duplicate_of[some.numpy()] = twins.numpy()
    return SimilarityIndex(rows, lengths, margin, duplicate_of, recall)


def _by_forest(rows: Tensor, lengths: Tensor, margin: float) -> Integers:
    """Return the index of the most similar near-duplicate that a forest finds, −1 if it finds none, [N]."""
    twin = np.full(len(rows), -1)
    best = np.zeros(len(rows), dtype=np.float32)
    for own, other, cosines in near_pairs(rows, 1 - margin):
        near = _near(cosines, lengths[own], lengths[other], margin).numpy()
        first, second, likeness = own.numpy()[near], other.numpy()[near], cosines.numpy()[near]
        better = likeness > best[first]
        # most similar last: of several values for one place, numpy keeps the last
        order = np.flatnonzero(better)[np.argsort(likeness[better], kind="stable")]
        twin[first[order]], best[first[order]] = second[order], likeness[order]
    return twin


def _margin(cosines: Tensor) -> float:
    """Return the largest 1 − cosine of near-duplicates, from cosines with the nearest samples, [n, K]."""
    # how near the nearest sample usually is, in these data: the scale for "nearer than usual"
    usual = float((1 - cosines[:, 0]).median())
    return max(COSINE_ROUNDING, min(1 - DUPLICATE_COSINE, DUPLICATE_DISTANCE_RATIO * usual))


def _twins(own: Tensor, cosines: Tensor, others: Tensor, lengths: Tensor, margin: float) -> Tensor:
    """Return the nearest near-duplicate of some samples, −1 without one, [n].

    Args:
        own: Indices of the samples, [n].
        cosines: Cosines with the nearest other ones, largest first, [n, K].
        others: Indices of those, [n, K].
        lengths: See `SimilarityIndex`, [N, V].
        margin: Likewise.
    """
    near = _near(cosines, lengths[others], lengths[own, None], margin)
    near &= cosines > 0
    # argmax gives the first True, and candidates are sorted by cosine
    first = near.int().argmax(1, keepdim=True)
    return others.gather(1, first).where(near.any(1, keepdim=True), -1)[:, 0]


def search_notice(index: SimilarityIndex) -> str:
    """Return a notice about what a search may have missed; empty if all pairs were compared."""
    if index.recall is None:
        return ""
    recall = index.recall
    return (
        f"Near-duplicates were searched by an index, which misses a few: of {recall.duplicates:,} samples "
        f"with one among {recall.samples:,} compared with all others, it found {recall.found:,}."
    )


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
    count = len(views[0])
    total = torch.from_numpy(allocate(count, size, f"the views of {count:,} samples, put together"))
    lengths = torch.empty(count, len(views), dtype=torch.float64)
    for place, view in enumerate(views):
        width = view.shape[1]
        signs = torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1
        places = torch.randperm(size, generator=generator)[:width]
        # all samples share the mean activation: with it, every cosine would be near 1
        mean = view.mean(0, dtype=np.float64).astype(np.float32)
        for rows in blocks_of(count, size):
            centered = view[rows] - mean
            total[rows, places] += unit_rows(centered) * signs
            # direction alone would make a dark and a bright copy of the same image duplicates
            lengths[rows, place] = torch.linalg.vector_norm(
                torch.from_numpy(centered), dim=1, dtype=torch.float64
            )
        release(view)
    for rows in blocks_of(count, size):
        total[rows] = unit_rows(total[rows].numpy())
    smallest = torch.finfo(torch.float64).tiny
    return total, lengths.clamp_min_(smallest).log_()
