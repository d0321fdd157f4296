"""Several predictions of the labels, weighed by a part of the samples and put together for all of them.

How much each prediction counts, and how sharp their sums are, are single numbers: at most `WHOLE_NUMBERS` / C
samples tell them. With them, the verdict on a sample needs its own rows alone, so that the predictions are
gone through once, a block of samples at a time.

Arrays: N samples, C classes, P predictions, the network's own last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.combined_prediction import combine_predictions
from cohaudit.analysis.label_noise import fit_label_noise
from cohaudit.analysis.label_verdict import PoolFit, fit_pool
from cohaudit.analysis.memorization import combine_unbent, memorization_by
from cohaudit.analysis.pooled_prediction import calibrate, pool_predictions
from cohaudit.analysis.score_rows import (
    LastBlock,
    ScoreRows,
    Softmax,
    WeightedSum,
    fitted_sample,
    is_whole,
    stored,
)
from cohaudit.arrays import blocks_of
from cohaudit.results.thresholds import SUSPICION_POWER

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Predictions pooled, and what explains the labels by them.

    Attributes:
        probability: Softmax of the pooled log-probabilities at the sharpness of the fit, [N, C].
        weights: Weight of each outside prediction, then of each layer and answer, summing to 1.
        fit: Fit of one noise rate.
    """

    probability: ScoreRows
    weights: Array
    fit: PoolFit


@dataclass(frozen=True)
class Predictions:
    """Predictions of the labels; each is an array [N, C], or what computes its rows.

    Attributes:
        outside: Class probabilities that nothing of the network has a part in.
        each: Leave-one-out scores of the views, input side first; class probabilities by the earlier
            checkpoints, and by the network itself; P.
        layers: The same, the views' scores as probabilities.
    """

    outside: Sequence[ScoreRows]
    each: Sequence[ScoreRows]
    layers: Sequence[ScoreRows]

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.layers[0].shape


def gather_predictions(
    views: Sequence[ScoreRows],
    answers: Sequence[ScoreRows],
    outside: Sequence[ScoreRows],
    labels: Integers,
) -> Predictions:
    """Return predictions whose rows are computed once for all that is made of them.

    Args:
        views: Leave-one-out scores of each view, [N, C] each.
        answers: Class probabilities by the earlier checkpoints, and last by the network, [N, C] each.
        outside: Class probabilities that nothing of the network has a part in, [N, C] each.
        labels: Given labels, [N].
    """
    kept = [_kept(part) for part in (*views, *answers)]
    layers = [*(calibrate(scores, labels) for scores in kept[: len(views)]), *kept[len(views) :]]
    return Predictions([_kept(part) for part in outside], kept, layers)


def _kept(scores: ScoreRows) -> ScoreRows:
    if not is_whole(scores.shape):
        return LastBlock(scores)
    whole: Array = np.asarray(scores[:], dtype=np.float64)
    return whole


def pool_labels(predictions: Predictions, labels: Integers, trained: Integers) -> Pool:
    """Weigh the predictions for a pool, and fit it to the labels.

    Args:
        predictions: What is pooled.
        labels: Given labels, [N].
        trained: Labels that the network was trained on, [N].
    """
    some = fitted_sample(predictions.shape)
    outside, layers = _sampled(predictions.outside, some), _sampled(predictions.layers, some)
    pooled = pool_predictions(outside, layers, labels[some], trained=trained[some])
    fit = fit_pool(pooled.scores, labels[some])
    members = [*predictions.outside, *predictions.layers]
    scores = WeightedSum(members, pooled.weights.tolist(), logarithms=True)
    return Pool(Softmax(scores, fit.noise.sharpness), pooled.weights, fit)


def _sampled(parts: Sequence[ScoreRows], some: slice | Integers) -> list[Array]:
    return [np.asarray(part[some], dtype=np.float64) for part in parts]


@dataclass(frozen=True)
class LayerPrediction:
    """What the network's layers and answers predict together, and which of them have bent to the labels.

    Attributes:
        probability: Probability of each label from the other samples, [N, C].
        accuracy: Share of the given labels that it finds.
        overfit_share: Share of the labels not supported by the predictions before it that each one fits, [P].
        disagreements: Number of labels not supported by the predictions before it, [P].
        memorization: How far only a network that saw the sample would give its label, 0 to 1, [N].
    """

    probability: ScoreRows
    accuracy: float
    overfit_share: Array
    disagreements: Integers
    memorization: Array


def predict_by_layers(predictions: Predictions, labels: Integers, trained: Integers) -> LayerPrediction:
    """Combine the network's layers and answers; compare what would be predicted without the sample.

    Args:
        predictions: All predictions; for the memorization, those from outside come first.
        labels: Given labels, [N].
        trained: Labels that the network was trained on, [N].
    """
    some = fitted_sample(predictions.shape)
    each, outside = _sampled(predictions.each, some), _sampled(predictions.outside, some)
    combined = combine_predictions(each, labels[some], SUSPICION_POWER)
    sharpness = fit_label_noise(combined.scores, labels[some]).sharpness
    # what never saw the network comes first: no label has bent it
    unbent = combine_unbent([*outside, *each[:-1]], trained[some])
    del each, outside
    scores = WeightedSum([*predictions.outside, *predictions.each[:-1]], unbent.weights)
    others = Softmax(scores, unbent.sharpness)
    seen = _Counts(predictions, combined.weights.tolist(), labels)
    without, own = np.empty(len(labels)), np.empty(len(labels))
    given = np.empty(len(labels), dtype=bool)
    for rows in blocks_of(*predictions.shape):
        seen.add(rows)
        places = np.arange(rows.stop - rows.start), trained[rows]
        without[rows] = others[rows][places]
        answer = predictions.each[-1][rows]
        own[rows] = answer[places]
        given[rows] = answer.argmax(1) == trained[rows]
    probability: ScoreRows = Softmax(WeightedSum(predictions.each, combined.weights.tolist()), sharpness)
    return LayerPrediction(
        probability=stored(probability, "") if is_whole(predictions.shape) else probability,
        accuracy=seen.right / len(labels),
        overfit_share=seen.fitted / np.maximum(seen.unsupported, 1),
        disagreements=seen.unsupported,
        memorization=memorization_by(without, given, own),
    )


class _Counts:
    """Which labels each prediction fits that those before it, weighed, do not support.

    Args:
        predictions: The network's layers and answers are used.
        weights: Weight of each, [P].
        labels: Given labels, [N].
    """

    def __init__(self, predictions: Predictions, weights: Sequence[float], labels: Integers) -> None:
        self._predictions = predictions
        self._weights = weights
        self._labels = labels
        self.unsupported = np.zeros(len(weights), dtype=np.int64)
        self.fitted = np.zeros(len(weights), dtype=np.int64)
        self.right = 0

    def add(self, rows: slice) -> None:
        """Count a block of samples.

        Args:
            rows: Which.
        """
        labels = self._labels[rows]
        total: Any = None
        for k, (part, weight) in enumerate(zip(self._predictions.each, self._weights, strict=True)):
            block = part[rows]
            if k:
                disputed = total.argmax(1) != labels
                self.unsupported[k] += disputed.sum()
                self.fitted[k] += (disputed & (block.argmax(1) == labels)).sum()
                total += block * weight
            else:
                total = block * weight
        self.right += int((total.argmax(1) == labels).sum())
