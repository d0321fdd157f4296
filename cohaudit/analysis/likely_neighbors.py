"""Which samples probably support a label, or oppose it, by what a forward pass tells.

The gradient of the last layer's weights is r aᵀ, with r the residual at the output and a the layer's input.
The cosine of two of them is cos(r, r') · cos(a, a'): samples that look alike to the last layer support each
other where their labels err alike, and oppose each other where they err the other way. Of the samples chosen
so, the whole gradients are measured.

Arrays: N samples, C classes, Q samples in question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cohaudit.analysis.nearest_neighbors import unit_rows

Integers = NDArray[np.int64]

SAMPLES_PER_BLOCK = 8192
"""Samples compared with those in question at once: a few MB."""


@dataclass(frozen=True)
class LastLayer:
    """What the last layer gets and gives; N samples, C classes.

    Attributes:
        inputs: Its inputs, [N, any].
        probability: The network's probability of each class, [N, C].
        labels: Given labels, [N].
    """

    inputs: NDArray[np.float32]
    probability: NDArray[np.float32]
    labels: Integers

    def parts(self, rows: Integers | slice) -> tuple[Tensor, Tensor]:
        """Return the directions of some samples' residuals and inputs, [rows, C] and [rows, any]."""
        labels = torch.from_numpy(self.labels[rows])[:, None]
        wrong = torch.from_numpy(self.probability[rows]).scatter(1, labels, 0.0)
        # relative to the largest: the probabilities of a fitted sample's wrong labels are tiny
        wrong = wrong / wrong.amax(1, keepdim=True).clamp_min(torch.finfo(wrong.dtype).tiny)
        # where they are zero, what is left is that the label's logit should rise
        total = wrong.sum(1, keepdim=True)
        residual = wrong.scatter(1, labels, -torch.where(total > 0, total, 1.0))
        return F.normalize(residual, dim=1), unit_rows(self.inputs[rows])


def likely_neighbors(layer: LastLayer, queries: Integers, count: int) -> tuple[Integers, Integers]:
    """Return the likeliest supporters and opponents of some samples, strongest first, [Q, count] each.

    Args:
        layer: What the last layer gets and gives.
        queries: Indices of the samples in question, [Q].
        count: Samples on either side; below N.
    """
    residual, inputs = layer.parts(queries)
    own = torch.from_numpy(queries)
    best = [(torch.zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.int64))] * 2
    for start in range(0, len(layer.labels), SAMPLES_PER_BLOCK):
        stop = min(start + SAMPLES_PER_BLOCK, len(layer.labels))
        there, seen = layer.parts(slice(start, stop))
        cosines = (residual @ there.mT) * (inputs @ seen.mT)
        inside = torch.nonzero((own >= start) & (own < stop)).flatten()
        for side, sign in enumerate((1, -1)):
            signed = cosines * sign
            signed[inside, own[inside] - start] = -2.0  # below every cosine: no sample is its own neighbor
            values, indices = signed.topk(min(count, stop - start), 1)
            values = torch.cat([best[side][0], values], 1)
            indices = torch.cat([best[side][1], indices + start], 1)
            values, top = values.topk(min(count, values.shape[1]), 1)
            best[side] = values, indices.gather(1, top)
    return best[0][1].numpy(), best[1][1].numpy()


def chosen_neighbors(layer: LastLayer, queries: Integers, count: int, most: int) -> Integers:
    """Return the samples whose gradients are worth measuring beside those in question, rising.

    The samples in question come first, then their neighbors, the strongest of each before the next ones,
    until there are enough.

    Args:
        layer: What the last layer gets and gives.
        queries: Indices of the samples in question, most important first, [Q].
        count: Neighbors of a sample on either side, at most.
        most: Samples to return at most, those in question included.
    """
    queries = queries[:most]
    count = min(count, len(layer.labels) - 1)
    if not len(queries) or count < 1:
        return np.sort(queries)
    sides = likely_neighbors(layer, queries, count)
    # the k-th supporters and opponents of all samples in question, then the next ones
    ranked = np.stack(sides, 2).transpose(1, 0, 2).reshape(-1)
    wanted = np.concatenate([queries, ranked])
    _, first = np.unique(wanted, return_index=True)
    return np.sort(wanted[np.sort(first)[:most]])
