"""What is said to tell a better network from a worse one of the same data: measures, larger is better.

N samples, C classes. None of them sees a test sample. Those that ask a network about disturbed samples
compare its answers with the labels as given, with what the raw data says of the sample (`outside`), or with
its own answers to the undisturbed samples (`itself`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generalization.former import agreement, expected_accuracy
from benchmarks.shared.results import Row

Array = NDArray[np.float64]
Classes = NDArray[np.int64]
DISTURBED = (
    "mix same",
    "mix other",
    "mix near",
    "natural",
    "noise 0.1",
    "noise 0.3",
    "weights 0.1",
    "weights 0.3",
    "half 0",
)
"""Disturbances whose answers are compared with the labels."""
LOWER_IS_BETTER = (
    "spectral norms",
    "parameter norm",
    "distance from initialization",
    "path norm",
    "sharpness",
    "sharpness at random",
    "output margin",
    "input margin",
    "gradient-weight alignment",
    "Davies-Bouldin",
)
"""Figures of `benchmarks.generalization.complexity`, which are larger for a larger expected gap."""


@dataclass(frozen=True)
class Shared:
    """What the networks of a cell have in common.

    Attributes:
        labels: As given, [N].
        outside: Class probabilities by the raw data with each sample left out, [N, C].
        stranger: Position of the sample that each is mixed with, whatever its label, [N].
    """

    labels: Classes
    outside: Array
    stranger: Classes


def softmax(logits: NDArray[Any]) -> Array:
    """Return class probabilities, [N, C]."""
    z = logits.astype(np.float64)
    z = np.exp(z - z.max(1, keepdims=True))
    probability: Array = z / z.sum(1, keepdims=True)
    return probability


def measures(figures: Row, arrays: dict[str, NDArray[Any]], shared: Shared) -> Row:
    """Return all measures of a network.

    Args:
        figures: What `evidence.figures` returned.
        arrays: What `evidence.arrays_of` returned.
        shared: What the networks of the cell have in common.
    """
    labels = shared.labels
    own = softmax(arrays["logits"])
    found: Row = {name: -figures[name] for name in LOWER_IS_BETTER if name in figures}
    found["few parameters"] = -np.log(figures["parameters"])
    found["training accuracy"] = float(np.mean(own.argmax(1) == labels))
    found["training loss"] = -_loss(own, labels)
    found |= _leave_one_out(arrays, own, shared)
    found |= _disturbed(arrays, own, shared)
    found["mixup × Davies-Bouldin"] = -(1 - found["mix same, label"]) * figures["Davies-Bouldin"]
    return found


def _loss(probability: Array, labels: Classes) -> float:
    return float(-np.log(probability[np.arange(len(labels)), labels] + 1e-12).mean())


def _leave_one_out(arrays: dict[str, NDArray[Any]], own: Array, shared: Shared) -> Row:
    """Return how well the layers, with each sample left out, give its label, and the present prediction."""
    labels = shared.labels
    views = [view.astype(np.float64) for view in arrays["views"]]
    right = [float(np.mean(view.argmax(1) == labels)) for view in views]
    gradients = arrays["loo gradients"].astype(np.float64)
    found: Row = {
        "leave-one-out, first hidden layer": right[min(1, len(right) - 1)],
        "leave-one-out, penultimate layer": right[-1],
        "leave-one-out, mean of the layers": float(np.mean(right)),
        "leave-one-out, loss gradients": float(np.mean(gradients.argmax(1) == labels)),
        "answers that the raw data gives": float(np.mean(own.argmax(1) == shared.outside.argmax(1))),
    }
    outside = shared.outside.argmax(1)
    found["layers like the raw data"] = float(np.mean([np.mean(v.argmax(1) == outside) for v in views[1:]]))
    agreed = agreement(views, own, labels)
    found["former expected accuracy"] = expected_accuracy(agreed, _loss(own, labels), *own.shape)
    found["agreement"] = agreed
    return found


def _disturbed(arrays: dict[str, NDArray[Any]], own: Array, shared: Shared) -> Row:
    """Return how the answers stand what is done to samples, weights and units."""
    found: Row = {}
    outside = shared.outside.argmax(1)
    for name in DISTURBED:
        probability = softmax(arrays[f"on {name}"])
        answer = probability.argmax(1)
        found[f"{name}, label"] = float(np.mean(answer == shared.labels))
        found[f"{name}, outside"] = float(np.mean(answer == outside))
        found[f"{name}, itself"] = float(np.mean(answer == own.argmax(1)))
        found[f"{name}, confidence"] = float(probability.max(1).mean())
        found[f"{name}, log-probability of outside"] = float(
            (shared.outside * np.log(probability + 1e-3)).sum(1).mean()
        )
    halves = [softmax(arrays[f"on half {k}"]) for k in (0, 1)]
    found["halves agree"] = float(np.mean(halves[0].argmax(1) == halves[1].argmax(1)))
    between = softmax(arrays["on mix half"])
    pair = np.stack([shared.labels, shared.labels[shared.stranger]], 1)
    found["mix half, one of the two labels"] = float(np.mean((between.argmax(1)[:, None] == pair).any(1)))
    found["mix half, linear"] = -float(np.abs(between - (own + own[shared.stranger]) / 2).sum(1).mean())
    return found
