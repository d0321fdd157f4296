"""The strongest cosines between samples, exact: every pair is compared once, in blocks that fit a cache.

Arrays: N samples, D numbers each, K neighbors on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Sketches = NDArray[np.float32]

SAMPLES_PER_BLOCK = 2048
"""Samples on each side of a block of cosines: 16 MB, which fit the last-level cache of a processor."""

COSINES_PER_CHUNK = 64
"""Cosines whose maximum is taken first: the K largest of all lie in the K chunks with the largest maxima, so
that only K chunks are sorted."""


@dataclass(frozen=True)
class Strongest:
    """Each sample's strongest cosines with other samples; missing ones are 0.

    Attributes:
        positive: Positive cosines, largest first, [N, K].
        supporters: Indices of those samples, int64 [N, K]; arbitrary where the cosine is 0.
        negative: Negative cosines, most negative first, [N, K].
        opponents: Indices of those samples, int64 [N, K]; arbitrary where the cosine is 0.
        close: Number of other samples with a cosine of at least the bound, int64 [N].
    """

    positive: Tensor
    supporters: Tensor
    negative: Tensor
    opponents: Tensor
    close: Tensor


def strongest_cosines(sketches: Sketches, count: int, bound: float, opponents: bool = True) -> Strongest:
    """Find each sample's strongest cosines.

    Args:
        sketches: Sketches at any scale per sample, [N, D]; a row of zeros has cosine 0 with all others.
        count: K.
        bound: Cosine from which `Strongest.close` counts a sample.
        opponents: Whether to look for negative cosines too; if not, they are all 0.
    """
    total = len(sketches)
    # zeros stand for missing neighbors: only cosines of the right sign replace them
    up = Largest(total, count)
    down = Largest(total, count)
    close = torch.zeros(total, dtype=torch.int64)
    starts = range(0, total, SAMPLES_PER_BLOCK)
    for first in starts:
        rows = unit_rows(sketches[first : first + SAMPLES_PER_BLOCK])
        for second in starts[first // SAMPLES_PER_BLOCK :]:
            others = unit_rows(sketches[second : second + SAMPLES_PER_BLOCK])
            cosines = rows @ others.mT
            # rounding can put two equal rows at 1.0000001
            cosines.clamp_(-1, 1)
            sides = [(cosines, first, second)]
            if first == second:
                cosines.fill_diagonal_(0)
            else:
                # each block off the diagonal serves the rows of both its sides: half the products
                sides.append((cosines.mT.clone(memory_format=torch.contiguous_format), second, first))
            for block, start, other in sides:
                up.add(start, other, block)
                close[start : start + len(block)] += (block >= bound).sum(1)
                if opponents:
                    # negated in place: the block is not needed again
                    down.add(start, other, block.neg_())
    return Strongest(up.values, up.indices, -down.values, down.indices, close)


def nearest(rows: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the nearest other rows of some rows by comparing them with all: N · q · D multiplications.

    Args:
        rows: Rows of length 1 or 0, float32 [N, D].
        queries: Indices of the rows whose neighbors are looked for, int64 [q].
        count: K.

    Returns:
        Positive cosines, largest first, 0 where there are fewer, [q, K]; and the indices of those rows,
        arbitrary where the cosine is 0, int64 [q, K].
    """
    found = Largest(len(queries), count)
    for first in range(0, len(queries), SAMPLES_PER_BLOCK):
        asked = queries[first : first + SAMPLES_PER_BLOCK]
        for start in range(0, len(rows), SAMPLES_PER_BLOCK):
            others = rows[start : start + SAMPLES_PER_BLOCK]
            cosines = (rows[asked] @ others.mT).clamp_(-1, 1)
            own = ((asked >= start) & (asked < start + len(others))).nonzero()[:, 0]
            cosines[own, asked[own] - start] = 0
            found.add(first, start, cosines)
    return found.values, found.indices


def unit_rows(sketches: Sketches) -> Tensor:
    """Return the sketches scaled to length 1, [N, D]; a row of zeros stays zero."""
    rows = torch.from_numpy(np.ascontiguousarray(sketches))
    # scaled by the largest entry first: the squares of tiny float32 numbers would underflow
    rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return F.normalize(rows, dim=1)


class Largest:
    """The largest positive values seen so far, per sample.

    Args:
        samples: N.
        count: K, values kept per sample.
    """

    def __init__(self, samples: int, count: int) -> None:
        self._count = count
        self.values = torch.zeros(samples, count)
        self.indices = torch.zeros(samples, count, dtype=torch.int64)

    def add(self, start: int, other: int, block: Tensor) -> None:
        """Add a block of values.

        Args:
            start: Index of the first sample, whose values are the block's first row.
            other: Index of the sample that the block's first column belongs to.
            block: Values, [any, any].
        """
        values, indices = _largest(block, self._count)
        rows = slice(start, start + len(block))
        # merging K + K values per row is cheap beside the products
        values = torch.cat([self.values[rows], values], 1)
        indices = torch.cat([self.indices[rows], indices + other], 1)
        self.values[rows], top = values.topk(self._count, dim=1)
        self.indices[rows] = indices.gather(1, top)


def _largest(block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their columns, [rows, at most count] each."""
    width = block.shape[1]
    # a narrow or ragged block has no more than `count` chunks to choose from
    if width % COSINES_PER_CHUNK or width <= count * COSINES_PER_CHUNK:
        return block.topk(min(count, width), dim=1)
    chunks = block.unflatten(1, (-1, COSINES_PER_CHUNK))
    best = chunks.amax(2).topk(count, dim=1).indices
    values, places = (
        chunks.gather(1, best[:, :, None].expand(-1, -1, COSINES_PER_CHUNK)).flatten(1).topk(count, dim=1)
    )
    return values, best.gather(
        1, places // COSINES_PER_CHUNK
    ) * COSINES_PER_CHUNK + places % COSINES_PER_CHUNK
