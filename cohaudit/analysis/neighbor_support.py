"""Neighborhood support: whether a sample's gradient neighbors pull the weights the same way, or against it.

The strongest supporters and opponents are the evidence shown beside each suspect. They are found by whitened
cosines (`whitening`) of what stands for the gradients after a forward pass (`forward_gradients`). What makes
a sample a suspect is in `leave_one_out`.

Arrays: N samples, D numbers per sketch. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.analysis.coherence import SKETCHES_PER_BLOCK
from cohaudit.analysis.forward_gradients import ForwardGradients, evenly
from cohaudit.analysis.nearest_neighbors import (
    SAMPLES_PER_BLOCK,
    Largest,
    strongest_cosines,
    unit_rows,
)
from cohaudit.analysis.whitening import whitening_metric
from cohaudit.results.thresholds import LEAF_COSINE, WHITENING_RIDGE

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Sketches = NDArray[np.float32]

SMALLEST_LENGTH = 1e-30
"""Smallest squared length of a whitened gradient that counts: a sample without a gradient has cosine 0."""

METRIC_SAMPLES = 16384
"""Samples, drawn evenly, that the whitening is made of at most: sixteen for each of its numbers."""


@dataclass(frozen=True)
class Support:
    """Support of each sample by its gradient neighbors.

    Attributes:
        support: Mean signed cosine over the k neighbors with the largest absolute cosine, in [−1, 1], [N].
        count: Number of other samples with a cosine of at least `LEAF_COSINE`, [N].
    """

    support: Array
    count: Integers


@dataclass(frozen=True)
class NeighborSide:
    """Each sample's supporters, or its opponents, strongest first.

    Attributes:
        indices: Indices of the neighbors, −1 for missing ones, [N, n].
        cosines: Whitened cosines with them, [N, n].
    """

    indices: Integers
    cosines: Array

    def of(self, sample: int, count: int) -> list[tuple[int, float]]:
        """Return at most `count` neighbors of a sample as pairs (index, cosine)."""
        pairs = zip(self.indices[sample, :count].tolist(), self.cosines[sample, :count].tolist(), strict=True)
        return [(j, cosine) for j, cosine in pairs if j >= 0]


@dataclass(frozen=True)
class Neighbors:
    """The samples that probably support the labels of others, and those that oppose them.

    Attributes:
        supporters: Samples with the largest positive whitened cosines.
        opponents: Samples with the most negative whitened cosines.
    """

    supporters: NeighborSide
    opponents: NeighborSide


def neighborhood_support(sketches: Sketches, neighbors: int) -> Support:
    """Return how far each sample's gradient neighbors support it.

    s_i = mean of cos(g_i, g_j) over the k samples j ≠ i with the largest |cos(g_i, g_j)|, in [−1, 1].
    Every pair is compared, once, in blocks.

    Args:
        sketches: Sketched loss gradients, at any scale per sample, [N, D]; N ≥ 2.
        neighbors: k; at most N − 1 are used.
    """
    k = min(neighbors, len(sketches) - 1)
    strong = strongest_cosines(sketches, k, LEAF_COSINE)
    # the k largest absolute cosines are among the k largest of either sign
    both = torch.cat([strong.positive, strong.negative], 1).double()
    support = both.gather(1, both.abs().topk(k, dim=1).indices).mean(1)
    return Support(support.numpy(), strong.close.numpy())


def no_neighbors(samples: int) -> Neighbors:
    """Return the neighbors of N samples of which nothing is known."""
    none = NeighborSide(np.full((samples, 0), -1), np.zeros((samples, 0)))
    return Neighbors(none, none)


def named_neighbors(gradients: ForwardGradients, queries: Integers, strongest: int) -> Neighbors:
    """Return the strongest supporters and opponents of some samples among all, by whitened cosines.

    It takes queries · N · D multiplications, and as many again for at most `METRIC_SAMPLES` of the samples.

    Args:
        gradients: What stands for the samples' gradients; N ≥ 2.
        queries: Indices of the samples in question, [Q]; those of others are missing.
        strongest: Supporters and opponents returned per sample, at most.
    """
    total = len(gradients)
    n = min(strongest, total - 1)
    chosen = evenly(total, METRIC_SAMPLES)
    metric = whitening_metric(gradients.rows(chosen), WHITENING_RIDGE, total / len(chosen))
    rows = unit_rows(gradients.rows(queries))
    asked = rows @ metric
    asked /= (asked * rows).sum(1, keepdim=True).clamp_min(SMALLEST_LENGTH).sqrt()
    own = torch.from_numpy(queries)
    # zeros stand for missing neighbors: only cosines of the right sign replace them
    up, down = Largest(len(queries), n), Largest(len(queries), n)
    for start in range(0, total, SAMPLES_PER_BLOCK):
        rows = unit_rows(gradients.rows(slice(start, start + SAMPLES_PER_BLOCK)))
        lengths = ((rows @ metric) * rows).sum(1).clamp_min(SMALLEST_LENGTH).sqrt()
        cosines = (asked @ (rows / lengths[:, None]).mT).clamp_(-1, 1)
        inside = torch.nonzero((own >= start) & (own < start + len(rows))).flatten()
        cosines[inside, own[inside] - start] = 0
        up.add(0, start, cosines)
        down.add(0, start, cosines.neg_())
    return Neighbors(_side(up, queries, total, 1), _side(down, queries, total, -1))


def _side(found: Largest, queries: Integers, samples: int, sign: int) -> NeighborSide:
    """Return the neighbors of N samples: those found of some, without those that are missing."""
    indices = np.full((samples, found.indices.shape[1]), -1)
    cosines = np.zeros(indices.shape)
    # a cosine of 0 is a missing neighbor, or one without a gradient: neither supports nor opposes
    indices[queries] = found.indices.where(found.values != 0, -1).numpy()
    cosines[queries] = sign * found.values.double().numpy()
    return NeighborSide(indices, cosines)


def sketched_cosine_error(sketches: Sketches, members: Integers, squared_norms: Array) -> float:
    """Estimate the standard error of a cosine between two sketches, from squared norms known exactly.

    A sketch of D numbers by independent signs gives a squared norm with variance 2 ‖g‖⁴ / D, and an inner
    product with variance (‖g‖² ‖h‖² + ⟨g, h⟩²) / D: for orthogonal unit vectors, half as much. So the root
    mean square of (sketched / exact squared norm − 1), divided by √2, is the error of a cosine near 0. Toward
    ±1 it shrinks, as (1 − cosine²) / √D. For sparse gradients, whose norm the sketch keeps exactly, this is 0
    though cosines are off: `expected_cosine_error` is what they err by.

    Args:
        sketches: Sketched gradients, [N, D]; possibly in a file.
        members: Indices of the samples, [m].
        squared_norms: Exact squared norms of their gradients, at the sketches' scale, above 0, [m].
    """
    if not len(members):
        return 0.0
    blocks = (
        np.asarray(sketches[members[start : start + SKETCHES_PER_BLOCK]])
        for start in range(0, len(members), SKETCHES_PER_BLOCK)
    )
    squares = np.concatenate([np.einsum("ij,ij->i", rows, rows, dtype=np.float64) for rows in blocks])
    return float(np.sqrt(np.square(squares / squared_norms - 1).mean() / 2))


def expected_cosine_error(squared_norms: Array, numbers: Array) -> float:
    """Return the least mean error of a cosine between two orthogonal gradients, by independent signs.

    A part of D numbers gives the inner product of two gradients' parts the variance ‖g‖² ‖h‖² / D. With s_p
    the mean share of part p in a sample's squared norm, the variance of a cosine is Σ_p s_p² / D_p, which is
    at least (Σ_p s_p)² / Σ_p D_p over the parts that are sketched. Unlike an estimate from norms this holds
    for sparse gradients: two entries at different places collide in a sketch of D numbers with probability 1
    / D, and their product then is off by ±1.

    Args:
        squared_norms: Squared norm of each part of each sample's gradient, [m, parts]; above 0 in total.
        numbers: Numbers in the sketch of each part; infinite for one that is stored whole, [parts].
    """
    sketched = np.isfinite(numbers)
    if not len(squared_norms) or not sketched.any():
        return 0.0
    shares = (squared_norms / squared_norms.sum(1, keepdims=True)).mean(0)
    return float(shares[sketched].sum() / np.sqrt(numbers[sketched].sum()))
