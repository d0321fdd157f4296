"""SimiFeat: wrong labels by the labels of similar features.

Zhu, Dong & Liu, "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022. Their features
come from a pretrained encoder, and each round augments the images anew; here the features are the
checkpoint's and there is one round, as no other peer sees augmented samples either.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.detection.peers.neighbors import nearest_neighbors
from benchmarks.detection.peers.transitions import estimate_transitions
from benchmarks.detection.scores import Array, Scores

VOTERS = 10
"""Samples whose labels make a soft label, the sample itself among them: the authors' default."""
SHARE_BOUNDS = (0.05, 0.95)
"""Least and largest share of a class that SimiFeat-R accuses: the authors' bounds."""


def simifeat(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> Scores:
    """Return the scores of SimiFeat-V (vote) and SimiFeat-R (rank).

    Both are decisions in the paper. Here accused samples come first, in [1, 2], then the others, in [0, 1];
    within each, samples are ordered by the score that the paper ranks by.

    Args:
        features: [N, F].
        labels: [N].
        classes: Number of classes.
    """
    indices, cosines = nearest_neighbors(features, VOTERS - 1)
    y = torch.from_numpy(labels)
    soft = soft_labels(indices, cosines, y, classes)
    outvoted = (soft.argmax(1) != y).numpy()
    disagreement: Array = 1 - soft.gather(1, y[:, None])[:, 0].numpy()
    prior, transitions = estimate_transitions(y, indices[:, :2], classes)
    accused = tail_of_each_class(disagreement, labels, wrong_shares(labels, prior, transitions))
    return {"SimiFeat-V": outvoted + disagreement, "SimiFeat-R": accused + disagreement}


def soft_labels(indices: Tensor, cosines: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return each sample's labels around it, weighted by cosine and of length 1, float64 [N, classes].

    The sample's own label takes part. Its cosine with itself, 1, would drown the others; so it gets the
    weight that extrapolates those of its two nearest neighbors.
    """
    weights = cosines.double().clamp_min(0)
    own = (2 * weights[:, :1] - weights[:, 1:2]).clamp_min(0)
    votes = torch.zeros(len(labels), classes, dtype=torch.float64)
    votes.scatter_add_(1, labels[:, None], own)
    votes.scatter_add_(1, labels[indices], weights)
    return F.normalize(votes, dim=1)


def tail_of_each_class(disagreement: Array, labels: NDArray[np.int64], shares: Array) -> NDArray[np.bool_]:
    """Return which samples are among the most disagreeing of their class, a share of it for each class."""
    found = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        found[own] = disagreement[own] >= np.quantile(disagreement[own], 1 - shares[label])
    return found


def wrong_shares(labels: NDArray[np.int64], prior: Array, transitions: Array) -> Array:
    """Return the share of wrong labels of each given class, P(Y ≠ j | given j), [C], by Bayes' rule."""
    given = np.bincount(labels, minlength=len(prior)) / len(labels)
    right = np.diag(transitions) * prior / np.maximum(given, 1 / len(labels))
    return np.clip(1 - right, *SHARE_BOUNDS)
