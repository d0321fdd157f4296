"""What a run said of its samples on average; the mean logit margin is AUM, in `detectors`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.detection.peers.confident_learning import confident_learning
from benchmarks.detection.scores import Array, Scores


def mean_probabilities(logits: NDArray[np.floating]) -> Array:
    """Return the in-sample class probabilities, averaged over epochs, [N, C], from logits [epochs, N, C]."""
    total = np.zeros(logits.shape[1:])
    for epoch in logits:  # one by one: all in float64 would take four times the memory of the logits
        total += softmax(epoch.astype(np.float64), axis=1)
    return total / len(logits)


def averaged_scores(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Scores:
    """Return scores from class probabilities averaged over the epochs, from logits [epochs, N, C].

    The mean probability of the label is the confidence of dataset cartography (Swayamdipta et al., EMNLP
    2020).
    """
    mean = mean_probabilities(logits)
    safe = np.clip(mean, 1e-300, None)
    safe /= safe.sum(1, keepdims=True)
    issues = confident_learning(safe, labels)
    return {
        "mean probability": 1 - mean[np.arange(len(labels)), labels],
        "mean probability margin": margin_of(mean, labels),
    } | {f"mean probability, cleanlab {name}": score for name, score in issues.items()}


def margin_of(values: Array, labels: NDArray[np.int64]) -> Array:
    """Return the largest value of another class minus that of the label, from values [N, C]."""
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    return np.asarray(others.max(1) - values[rows, labels])
