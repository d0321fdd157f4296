"""Several predictions of the same labels pooled into one, by how much each explains and how far it overfits.

Outside predictions were made without the network: no label has bent them. The network's layers know more or
less, and have bent to some labels. The pool is logarithmic (Genest & Zidek, Statistical Science 1986):
log-probabilities are averaged, so that a label which one prediction excludes needs much support from others.

Arrays: N samples, C classes, O outside predictions, P layers and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.combined_prediction import explained
from cohaudit.analysis.label_noise import fit_label_noise, is_informative
from cohaudit.analysis.score_rows import (
    Even,
    ScoreRows,
    Softmax,
    fitted_sample,
    log_probability,
    stored,
)
from cohaudit.results.thresholds import OUTSIDE_WEIGHT, SUSPICION_POWER

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_CALIBRATED = 10_000
"""Samples that a prediction's sharpness, one number, is fitted to at most; of more, evenly spaced ones."""


@dataclass(frozen=True)
class PooledPrediction:
    """Several predictions pooled.

    Attributes:
        scores: Weighted mean of their log-probabilities, [N, C].
        weights: Weight of each outside prediction, then of each layer and answer, summing to 1, [O + P].
        overfit_share: r of each layer and answer, [P].
        disagreements: Number of labels not supported by the pool of those before it, [P].
    """

    scores: Array
    weights: Array
    overfit_share: Array
    disagreements: Integers


def calibrated(scores: ScoreRows, labels: Integers) -> Array:
    """Return a prediction's scores as probabilities, as sharp as explains the given labels best, [N, C].

    Scores that predict the labels no better than the class shares do become these shares.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
    """
    return stored(calibrate(scores, labels), "calibrated predictions")


def calibrate(scores: ScoreRows, labels: Integers) -> ScoreRows:
    """Return the same as `calibrated`, computed when asked."""
    some = np.arange(len(labels))[fitted_sample(scores.shape)]
    some = some[:: -(-len(some) // MAX_CALIBRATED)]
    part = scores[some].astype(np.float64)
    noise = fit_label_noise(part, labels[some])
    if not is_informative(part, labels[some], noise):
        # noise is explained as well by near certainty and many wrong labels as by none
        return Even(np.bincount(labels, minlength=scores.shape[1]) / len(labels), len(labels))
    return Softmax(scores, noise.sharpness)


def pool_predictions(
    outside: Sequence[Array],
    layers: Sequence[Array],
    labels: Integers,
    *,
    trained: Integers | None = None,
    outside_weight: float = OUTSIDE_WEIGHT,
    power: float = SUSPICION_POWER,
) -> PooledPrediction:
    """Pool predictions; outside ones count most, and layers that have bent to the labels count less.

    A layer that has overfit gives exactly those labels that the predictions before it do not support. The
    weight of a layer is R² (1 − r)ᵖ: R² is the share of the labels' variance that it explains, r the share
    that it gives of the labels not supported by the pool of those before it, the outside ones first. All
    layers together count as much as the heaviest of them: they see the same sample through one network. An
    outside prediction has the weight k R². The constants k and p were chosen with each data set left out
    (`python -m benchmarks.verdicts`).

    Args:
        outside: Class probabilities that nothing of the network has a part in, [N, C] each.
        layers: Class probabilities by the network's layers, input side first, then by earlier checkpoints and
            the network itself, [N, C] each; at least one.
        labels: Given labels, [N].
        trained: Labels that the network was trained on, which its layers may have bent to, [N]; the given
            ones if left out.
        outside_weight: k.
        power: p.
    """
    trained = labels if trained is None else trained
    total = np.zeros((len(labels), layers[0].shape[1]))
    weights = [outside_weight * explained(own, labels) for own in outside]
    for weight, own in zip(weights, outside, strict=True):
        total += weight * log_probability(own)
    running = total.copy()
    layer_weights: list[float] = []
    overfit: list[float] = []
    counts: list[int] = []
    for own in layers:
        known = bool(outside) or bool(layer_weights)
        unsupported = running.argmax(1) != trained if known else np.zeros(len(labels), dtype=bool)
        gives = own.argmax(1)[unsupported] == trained[unsupported]
        overfit.append(float(gives.mean()) if unsupported.any() else 0.0)
        counts.append(int(unsupported.sum()))
        layer_weights.append(explained(own, labels) * (1 - overfit[-1]) ** power)
        # the order matters: each one is compared with the pool of those before it
        running += layer_weights[-1] * log_probability(own)
    part = max(layer_weights) / max(sum(layer_weights), np.finfo(float).tiny)
    weights += [part * weight for weight in layer_weights]
    for weight, own in zip(weights[len(outside) :], layers, strict=True):
        total += weight * log_probability(own)
    all_weights = max(sum(weights), np.finfo(float).tiny)
    return PooledPrediction(
        scores=total / all_weights,
        weights=np.asarray(weights) / all_weights,
        overfit_share=np.asarray(overfit),
        disagreements=np.asarray(counts),
    )
