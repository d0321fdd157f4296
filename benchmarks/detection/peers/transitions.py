"""HOC: how often each class is labeled as each, from the labels of a sample and its two nearest neighbors.

Zhu, Song & Liu, "Clusterability as an Alternative to Anchor Points When Learning with Noisy Labels", ICML
2021. If a sample and its two nearest neighbors are of the same true class, and are labeled independently, how
often their three labels agree tells the true classes' shares p and the matrix T, P(given j | true i).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from benchmarks.detection.scores import Array

STEPS = 400
"""Steps of Adam: the default of SimiFeat's authors."""
RATE = 0.1
"""Learning rate of the steps: their default."""
DIAGONAL = 5.0
"""Logit on T's diagonal at the start of the fit above the others: most labels are taken for right."""

Consensus = tuple[Tensor, Tensor, Tensor]
"""Shares of labels [C], of pairs of labels [C, C], and of triples [C, C, C]."""


def estimate_transitions(labels: Tensor, neighbors: Tensor, classes: int) -> tuple[Array, Array]:
    """Return the share of each true class, [C], and the transition matrix, [C, C], its rows true classes.

    Args:
        labels: Given labels, int64 [N].
        neighbors: Positions of each sample's two nearest neighbors, int64 [N, 2].
        classes: C.
    """
    seen = observed(torch.cat([labels[:, None], labels[neighbors]], 1), classes)
    class_logits = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    logits = (DIAGONAL * torch.eye(classes, dtype=torch.float64)).requires_grad_()
    optimizer = torch.optim.Adam([class_logits, logits], RATE)
    least = torch.inf
    best = (class_logits.detach().softmax(0), logits.detach().softmax(1))
    for _ in range(STEPS):
        prior = class_logits.softmax(0)
        transitions = logits.softmax(1)
        loss = distance(seen, expected(prior, transitions))
        if loss.item() < least:
            least = loss.item()
            best = (prior.detach(), transitions.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return cast(tuple[Array, Array], tuple(part.numpy() for part in best))


def observed(triples: Tensor, classes: int) -> Consensus:
    """Return how often labels occur, alone, in pairs and in triples, from int64 [N, 3]."""
    counts = torch.zeros(classes, classes, classes, dtype=torch.float64)
    counts.index_put_(tuple(triples.T), torch.ones(len(triples), dtype=torch.float64), accumulate=True)
    shares = counts / len(triples)
    return shares.sum((1, 2)), shares.sum(2), shares


def expected(prior: Tensor, transitions: Tensor) -> Consensus:
    """Return how often labels occur, alone, in pairs and in triples, for p [C] and T [C, C]."""
    weighted = prior[:, None] * transitions
    pairs = (transitions[:, :, None] * transitions[:, None]).flatten(1)
    size = len(prior)
    return weighted.sum(0), weighted.T @ transitions, (weighted.T @ pairs).view(size, size, size)


def distance(one: Consensus, other: Consensus) -> Tensor:
    """Return the sum of the three Euclidean distances."""
    return torch.stack([(a - b).norm() for a, b in zip(one, other, strict=True)]).sum()
