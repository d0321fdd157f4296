"""Which samples agree with which: each sample's gradient neighbors, and whether they want what it wants.

Do the samples that touch the same weights agree with this one, or fight it (neighborhood support)? Who
supports and who opposes it is the evidence beside each suspect; what makes a suspect is in `leave_one_out`.

Arrays: N samples, D numbers per sketch. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.analysis.nearest_neighbors import strongest_cosines
from cohaudit.results.thresholds import LEAF_COSINE

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Sketches = NDArray[np.float32]

BLOCK = 4096
"""Sketches in memory at once where they lie in a file."""


@dataclass(frozen=True)
class Support:
    """What the gradient neighbors say, per sample.

    Attributes:
        support: Mean signed cosine over the k neighbors with the largest absolute cosine, [N].
        count: Other samples with a cosine of at least `LEAF_COSINE`: the size of the sample's leaf, [N].
        supporters: The neighbors with the largest positive cosine.
        opponents: The neighbors with the most negative cosine.
    """

    support: Array
    count: Integers
    supporters: Side
    opponents: Side


@dataclass(frozen=True)
class Side:
    """Each sample's neighbors on one side, strongest first.

    Attributes:
        indices: [N, n]; -1 where there are no more.
        cosines: [N, n].
    """

    indices: Integers
    cosines: Array

    def of(self, sample: int, count: int) -> list[tuple[int, float]]:
        """Return at most `count` neighbors of a sample as (index, cosine)."""
        pairs = zip(self.indices[sample, :count].tolist(), self.cosines[sample, :count].tolist(), strict=True)
        return [(j, cosine) for j, cosine in pairs if j >= 0]


def neighborhood_support(sketches: Sketches, neighbors: int, strongest: int) -> Support:
    """Ask each sample's gradient neighbors whether they agree with it.

    s_i = mean of cos(g_i, g_j) over the k samples j ≠ i with the largest |cos(g_i, g_j)|, in [−1, 1].
    Every pair is compared, once, in blocks.

    Args:
        sketches: Of the loss gradients, at any scale per sample, [N, D]; N ≥ 2.
        neighbors: k; at most N − 1 are used.
        strongest: Supporters and opponents kept per sample, at most.
    """
    k = min(neighbors, len(sketches) - 1)
    n = min(strongest, len(sketches) - 1)
    found = strongest_cosines(sketches, max(k, n), LEAF_COSINE)
    # the strongest of all are among the strongest of either side
    both = torch.cat([found.positive, found.negative], 1).double()
    support = both.gather(1, both.abs().topk(k, dim=1).indices).mean(1)
    return Support(
        support.numpy(),
        found.close.numpy(),
        _side(found.supporters[:, :n], found.positive[:, :n]),
        _side(found.opponents[:, :n], found.negative[:, :n]),
    )


def _side(indices: torch.Tensor, cosines: torch.Tensor) -> Side:
    return Side(indices.where(cosines != 0, -1).numpy(), cosines.double().numpy())


def sketched_cosine_error(sketches: Sketches, members: Integers, squared_norms: Array) -> float:
    """Estimate the standard error of a cosine between two sketches, from squared norms known exactly.

    A sketch of D numbers by independent signs gives a squared norm with variance 2 ‖g‖⁴ / D, and an inner
    product with variance (‖g‖² ‖h‖² + ⟨g, h⟩²) / D: of unit vectors at a right angle, half as much. So the
    root mean square of (sketched / exact squared norm − 1), divided by √2, is the error of a cosine near 0.
    Toward ±1 it shrinks, as (1 − cosine²) / √D.

    Args:
        sketches: [N, D]; they may lie in a file.
        members: Which samples, [m].
        squared_norms: Of their gradients at the sketches' scale, above 0, [m].
    """
    if not len(members):
        return 0.0
    blocks = (np.asarray(sketches[members[start : start + BLOCK]]) for start in range(0, len(members), BLOCK))
    squares = np.concatenate([np.einsum("ij,ij->i", rows, rows, dtype=np.float64) for rows in blocks])
    return float(np.sqrt(np.square(squares / squared_norms - 1).mean() / 2))
