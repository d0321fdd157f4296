"""Other ways to find wrong labels: scores from a checkpoint, a training run, or five training runs.

Every score is higher where a label is more likely wrong, one number per sample. N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection.peers.averages import averaged_scores
from benchmarks.detection.peers.collect import peer_scores
from benchmarks.detection.peers.confident_learning import confident_learning
from benchmarks.detection.peers.neighbors import nearest_neighbors
from benchmarks.detection.scores import Array, Scores
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.training import logits_of
from cohaudit.gradients import Measurement
from cohaudit.gradients.features import View

NEIGHBORS = (10, 20, 50)
"""Numbers of neighbors that feature kNN asks."""
NEVER_LEARNED = 1e6
"""Forgetting events of a sample that was never learned."""
HOT = 10.0
"""Temperature of the second leave-one-out alignment."""


def checkpoint_scores(data: NoisyData, model: nn.Module, measured: Measurement) -> Scores:
    """Return the scores of all methods that see one checkpoint, as cohaudit does.

    Args:
        data: Samples that the model was trained on.
        model: Checkpoint, in eval mode.
        measured: What a scan measures of it.
    """
    logits = logits_of(model, data.train)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    features = torch.from_numpy(measured.views[-1].rows)
    hot = measure_model(model, data.train, data.labels, data.classes, temperature=HOT)
    return (
        from_logits(logits, data.labels)
        | from_gradients(measured, hot)
        | {"GWA": weight_alignment(logits, head.bias.detach(), features, head.weight.detach(), data.labels)}
        | from_features(measured.views, data.labels.numpy())
        | peer_scores(data, model, measured)
    )


def from_logits(logits: Tensor, labels: Tensor) -> Scores:
    """Return scores from predicted probabilities alone, from logits [N, C] of the checkpoint."""
    z = logits.double()
    p = F.softmax(z, 1)
    one_hot = F.one_hot(labels, z.shape[1]).double()
    return {
        "loss": F.cross_entropy(z, labels, reduction="none").numpy(),
        "margin": -_margin(z, labels).numpy(),
        "entropy": -(p * F.log_softmax(z, 1)).sum(1).numpy(),
        "EL2N": (p - one_hot).norm(dim=1).numpy(),
        **{f"cleanlab {name}": score for name, score in cleanlab(p.numpy(), labels.numpy()).items()},
    }


def cleanlab(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Scores:
    """Return cleanlab's scores from class probabilities, [N, C], and those of each of its filters."""
    safe = np.clip(probabilities, 1e-300, None)
    safe = safe / safe.sum(1, keepdims=True)
    scores = {
        name.replace("_", " "): 1 - get_label_quality_scores(labels, safe, method=name)
        for name in ("self_confidence", "normalized_margin")
    }
    return scores | confident_learning(safe, labels)


def _margin(z: Tensor, labels: Tensor) -> Tensor:
    given = z.gather(1, labels[:, None])
    return (given - z.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]


def from_gradients(measured: Measurement, hot: Measurement) -> Scores:
    """Return scores from per-sample gradients of the whole network.

    Args:
        measured: Measurement of the loss itself.
        hot: Measurement of the loss on logits / 10.
    """
    norms = np.sqrt(measured.squared_norms.sum(1))
    return {
        "GraNd": norms,
        "TracIn self-influence": norms**2,
        "leave-one-out alignment": -_alignment(measured),
        "leave-one-out alignment, T = 10": -_alignment(hot),
    }


def _alignment(measured: Measurement) -> Array:
    """Return cos(g_i, Σ_{j≠i} g_j), by sketches."""
    own = measured.sketches.astype(np.float64) * (measured.scale / measured.scale.max())[:, None]
    rest = own.sum(0) - own
    size = np.linalg.norm(own, axis=1) * np.linalg.norm(rest, axis=1)
    aligned: Array = (own * rest).sum(1) / np.maximum(size, 1e-300)
    return aligned


def weight_alignment(logits: Tensor, bias: Tensor, features: Tensor, weight: Tensor, labels: Tensor) -> Array:
    """Return minus the cosine of a sample's descent direction with the weights, in the last layer.

    GWA (Hölzl et al., arXiv 2510.25480): cos(−g_i, W). There g_i = (p − y)hᵀ, so ⟨g_i, W⟩ = (p − y)ᵀWh.

    Args:
        logits: [N, C].
        bias: Of the last layer, [C].
        features: h, [N, any].
        weight: W, [C, any].
        labels: [N].
    """
    z = logits.double()
    residual = F.softmax(z, 1) - F.one_hot(labels, z.shape[1])
    size = residual.norm(dim=1) * features.double().norm(dim=1) * weight.double().norm()
    return ((residual * (z - bias)).sum(1) / size.clamp_min(1e-300)).numpy()


def nearest(features: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[int, Array]:
    """Return the share of the k samples nearest by cosine that carry another label, for each k."""
    y = torch.from_numpy(labels)
    indices, _ = nearest_neighbors(features, max(NEIGHBORS))
    others = (y[indices] != y[:, None]).double()
    return {k: others[:, :k].mean(1).numpy() for k in NEIGHBORS}


def from_features(views: Sequence[View], labels: NDArray[np.int64]) -> Scores:
    """Return feature kNN on the last layer's input and on all layers' inputs, each of length 1."""
    average = {view.layer: view.rows for view in views}  # where a layer has two, the average comes second
    unit = [
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) for rows in average.values()
    ]
    last = nearest(views[-1].rows, labels)
    every = nearest(np.concatenate(unit, 1), labels)
    return {f"feature kNN {k}": score for k, score in last.items()} | {
        f"feature kNN {k}, all layers": score for k, score in every.items()
    }


def from_trajectory(logits: NDArray[np.float16], labels: Tensor) -> Scores:
    """Return what needs the logits after every epoch so far, [epochs, N, C].

    AUM (Pleiss et al., NeurIPS 2020): mean margin. CSL (cumulative sample loss): sum of losses. Forgetting
    (Toneva et al., ICLR 2019): times that a sample goes from right to wrong.
    """
    margins = []
    losses = []
    right = []
    for epoch in logits:
        z = torch.from_numpy(epoch.astype(np.float32))
        margins.append(_margin(z, labels))
        losses.append(F.cross_entropy(z, labels, reduction="none"))
        right.append(z.argmax(1) == labels)
    known = torch.stack(right)
    forgotten = (known[:-1] & ~known[1:]).sum(0).double()
    return {
        "AUM": -torch.stack(margins).mean(0).double().numpy(),
        "CSL": torch.stack(losses).sum(0).double().numpy(),
        "forgetting": torch.where(known.any(0), forgotten, NEVER_LEARNED).numpy(),
    } | averaged_scores(logits, labels.numpy())
