"""The strongest cosines between samples, exact: every pair is compared once, in blocks that fit a cache.

Arrays: N samples, D numbers each, K neighbors kept on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Sketches = NDArray[np.float32]

BLOCK = 2048
"""Samples on each side of a block of cosines: 16 MB, which a processor's last cache holds."""
CHUNK = 64
"""So many cosines show their largest first: the K largest of all lie in the K chunks with the largest."""


@dataclass(frozen=True)
class Strongest:
    """Each sample's strongest cosines with others; where a side has fewer than K, the rest are 0.

    Attributes:
        positive: Largest first, [N, K].
        supporters: With which samples, int64 [N, K]; any where the cosine is 0.
        negative: Most negative first, [N, K].
        opponents: With which samples, likewise.
        close: How many others have a cosine of at least the bound, int64 [N].
    """

    positive: Tensor
    supporters: Tensor
    negative: Tensor
    opponents: Tensor
    close: Tensor


def strongest_cosines(sketches: Sketches, count: int, bound: float, opponents: bool = True) -> Strongest:
    """Find each sample's strongest cosines.

    Args:
        sketches: At any scale per sample, [N, D]; a row of zeros has cosine 0 with all.
        count: K.
        bound: See `Strongest.close`.
        opponents: Whether to look for negative cosines; without, all of them count as 0.
    """
    total = len(sketches)
    up = _Largest(total, count)
    down = _Largest(total, count)
    close = torch.zeros(total, dtype=torch.int64)
    starts = range(0, total, BLOCK)
    for first in starts:
        rows = unit_rows(sketches[first : first + BLOCK])
        for second in starts[first // BLOCK :]:
            # rounding would put two equal rows at 1.0000001
            cosines = (rows @ unit_rows(sketches[second : second + BLOCK]).mT).clamp_(-1, 1)
            sides = [(cosines, first, second)]
            if first == second:
                cosines.fill_diagonal_(0)
            else:
                sides.append((cosines.mT.clone(memory_format=torch.contiguous_format), second, first))
            for block, start, other in sides:
                up.add(start, other, block)
                close[start : start + len(block)] += (block >= bound).sum(1)
                if opponents:
                    down.add(start, other, block.neg_())
    return Strongest(up.values, up.indices, -down.values, down.indices, close)


def unit_rows(sketches: Sketches) -> Tensor:
    """Return the sketches scaled to norm 1, [N, D]; a sample without gradient keeps a row of zeros."""
    rows = torch.from_numpy(np.ascontiguousarray(sketches))
    # scaled by the largest entry first: a norm of tiny float32 numbers would underflow when squared
    rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return F.normalize(rows, dim=1)


class _Largest:
    """The largest positive values seen so far, per sample."""

    def __init__(self, samples: int, count: int) -> None:
        self._count = count
        self.values = torch.zeros(samples, count)
        self.indices = torch.zeros(samples, count, dtype=torch.int64)

    def add(self, start: int, other: int, block: Tensor) -> None:
        """Take in the values of the samples from `start` on with those from `other` on, [any, any]."""
        values, indices = _largest(block, self._count)
        mine = slice(start, start + len(block))
        values = torch.cat([self.values[mine], values], 1)
        indices = torch.cat([self.indices[mine], indices + other], 1)
        self.values[mine], kept = values.topk(self._count, dim=1)
        self.indices[mine] = indices.gather(1, kept)


def _largest(block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their places; of a narrow block, all."""
    width = block.shape[1]
    if width % CHUNK or width <= count * CHUNK:
        return block.topk(min(count, width), dim=1)
    chunks = block.unflatten(1, (-1, CHUNK))
    best = chunks.amax(2).topk(count, dim=1).indices
    values, places = chunks.gather(1, best[:, :, None].expand(-1, -1, CHUNK)).flatten(1).topk(count, dim=1)
    return values, best.gather(1, places // CHUNK) * CHUNK + places % CHUNK
