"""AGRA: labels whose gradient points away from that of the others, in the last layer."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.scores import Array


def agra(residuals: Array, inputs: Array) -> Array:
    """Return minus the cosine of each sample's gradient with the mean one, by the last layer's weights.

    Sedova, Zellinger & Roth, "Learning with Noisy Labels by Adaptive Gradient-Based Outlier Removal", ECML
    PKDD 2023. During training they compare with the mean gradient of a random batch, and drop a sample if the
    cosine is not positive. At one checkpoint the batch is the whole data, as in the library `mislabeled`.

    Args:
        residuals: Derivatives of each loss by the logits, p − y, [N, C].
        inputs: Inputs of the last layer h, [N, F]; a sample's gradient is (p − y)hᵀ.
    """
    mean = residuals.T @ inputs / len(inputs)
    size = np.linalg.norm(residuals, axis=1) * np.linalg.norm(inputs, axis=1) * np.linalg.norm(mean)
    return np.asarray(-(residuals * (inputs @ mean.T)).sum(1) / np.maximum(size, 1e-300))
