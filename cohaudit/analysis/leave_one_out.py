"""Would the rest of the data support this label, judging by what the network's layers see of the sample?

Each layer's view of the samples predicts every label from all other samples, by ridge regression in closed
form. The network's own prediction is one more, and so is that of each earlier checkpoint. Deep layers know
more, but may have overfit the memorized labels. All predictions are combined, and one that fits labels which
those before it do not support counts less.

Arrays: N samples, C classes, F numbers per view. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.class_conditional_noise import ClassNoise, fit_class_noise
from cohaudit.analysis.combined_prediction import combine_predictions
from cohaudit.analysis.isotonic import decreasing_with
from cohaudit.analysis.label_noise import (
    SMALLEST_PROBABILITY,
    NoiseShare,
    expected_labels,
    fit_label_noise,
    label_evidence,
    wrong_probability,
    wrong_share,
)
from cohaudit.analysis.memorization import memorization
from cohaudit.results.thresholds import NOISE_SHARE_POWER, SUSPICION_POWER

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Regularization strengths tried, in units of one sample's squared length."""


@dataclass(frozen=True)
class LeaveOneOutPrediction:
    """What a view predicts for each sample from all others.

    Attributes:
        scores: About the share of the sample's surroundings that carries each label, [N, C].
        ridge: Regularization strength with the smallest leave-one-out error.
    """

    scores: Array
    ridge: float


def leave_one_out(
    view: NDArray[np.float32], labels: Integers, classes: int, ridges: Sequence[float] = RIDGES
) -> LeaveOneOutPrediction:
    """Predict each sample's label from all other samples, in closed form.

    Kernel ridge regression of one-hot labels on centered, length-normalized features. With
    K = XᵀX + λI and h_i = x_iᵀK⁻¹x_i, the prediction without sample i is (ŷ_i − h_i y_i) / (1 − h_i)
    (PRESS; Allen, Technometrics 1974), so that no model is refitted. λ is the one of `ridges` whose
    predictions are closest to the labels. One eigendecomposition serves all of them.

    Labels are taken relative to the class shares. These include the sample's own label, the only way in which
    it affects its own scores (by about 1 / N): shares without it would rank the sample's own class last
    wherever the features are uninformative.

    Args:
        view: What a layer sees of the samples, [N, F].
        labels: Given labels, [N].
        classes: C.
        ridges: Regularization strengths to try, above 0.
    """
    x = _unit_rows(view)
    y = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).double()
    # the class shares stay fixed when a sample is left out, see above
    share = y.mean(0)
    centered = y - share
    # of XᵀX, not XXᵀ: F is at most a few hundred, N may be many thousands
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned = x @ vectors
    squares = turned.square()
    target = turned.T @ centered
    best: tuple[float, float, Tensor] | None = None
    for ridge in ridges:
        # rounding can make the smallest eigenvalues of a positive semidefinite matrix negative
        shrink = 1 / (values.clamp_min(0) + ridge)
        leverage = (squares @ shrink)[:, None]
        scores = (turned @ (shrink[:, None] * target) - leverage * centered) / (1 - leverage) + share
        error = float((scores - y).square().sum())
        # strictly smaller: on ties the weaker regularization, which comes first
        if best is None or error < best[0]:
            best = error, ridge, scores
    assert best is not None
    return LeaveOneOutPrediction(best[2].numpy(), best[1])


def _unit_rows(view: NDArray[np.float32]) -> Tensor:
    """Return the centered rows scaled to length 1, in float64, [N, F]."""
    x = torch.from_numpy(view).double()
    x = x - x.mean(0)
    # scaled by the largest number first: normalize treats lengths below 1e-12 as zero, at whatever scale
    return torch.nn.functional.normalize(x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny), dim=1)


@dataclass(frozen=True)
class Suspicion:
    """The verdict on every label; P predictions: of the views, the earlier checkpoints and the model.

    Attributes:
        probability: Probability of a wrong label, [N].
        evidence: Log-odds of the given label from the other samples, and, if classes are confused, from the
            confusions too; the lower, the more suspicious, [N].
        expected: Probability of each label from the other samples, [N, C].
        expected_low_overfit: The same by those predictions alone that overfit least, [N, C].
        overfit_share: Share of the labels not supported by the predictions before it that each one fits, [P].
        disagreements: Number of labels not supported by the predictions before it, [P].
        memorization: How far only a network that saw the sample would give its label, 0 to 1, [N].
        margin: Leave-one-out score of the given label minus the best other one, [N].
        suggested: Label that the other samples predict; the given one if that is best, [N].
        accuracy: Share of the given labels that leave-one-out prediction finds.
        share: Estimated share of wrong labels.
        confused: Which classes are confused, if that explains the labels better; else None.
        weights: Weight of each prediction, summing to 1, [P].
    """

    probability: Array
    evidence: Array
    expected: Array
    expected_low_overfit: Array
    overfit_share: Array
    disagreements: Integers
    memorization: Array
    margin: Array
    suggested: Integers
    accuracy: float
    share: NoiseShare
    confused: ClassNoise | None
    weights: Array


def suspect_labels(
    views: Sequence[NDArray[np.float32]],
    labels: Integers,
    own: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
) -> Suspicion:
    """Find the labels that the rest of the data does not support.

    Args:
        views: What layers see of the samples, input side first, [N, any] each; at least one.
        labels: Given labels, [N].
        own: The network's own probability of each class, [N, C]; C at least 2.
        earlier: The same of earlier checkpoints, oldest first, [N, C] each.
    """
    each = [leave_one_out(view, labels, own.shape[1]).scores for view in views]
    return suspect_labels_by(each, labels, own, earlier)


def suspect_labels_by(
    predictions: Sequence[Array],
    labels: Integers,
    own: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
) -> Suspicion:
    """Do the same as `suspect_labels`, from the views' leave-one-out scores.

    Args:
        predictions: Leave-one-out scores of each view, input side first, [N, C] each; at least one.
        labels: Given labels, [N].
        own: The network's own probability of each class, [N, C]; C at least 2.
        earlier: The same of earlier checkpoints, oldest first, [N, C] each.
    """
    # the network comes last: what it fits beyond all others is memorized
    each = [*predictions, *(probability.astype(np.float64) for probability in (*earlier, own))]
    # which labels are wrong, and how many, need different weights, see the powers above
    combined = combine_predictions(each, labels, SUSPICION_POWER)
    low_overfit = combine_predictions(each, labels, NOISE_SHARE_POWER)
    scores = combined.scores
    noise = fit_label_noise(scores, labels)
    confused = fit_class_noise(scores, labels, noise)
    verdict = _judge_labels(scores, low_overfit.scores, labels, noise.sharpness, confused)
    margin, suggested = _margins(scores, labels)
    return Suspicion(
        probability=verdict.probability,
        evidence=verdict.evidence,
        expected=expected_labels(scores, noise.sharpness),
        expected_low_overfit=expected_labels(
            low_overfit.scores, fit_label_noise(low_overfit.scores, labels).sharpness
        ),
        overfit_share=low_overfit.overfit_share,
        disagreements=low_overfit.disagreements,
        memorization=memorization(each, labels),
        margin=margin,
        suggested=suggested if confused is None else confused.true.argmax(1),
        accuracy=float(np.mean(scores.argmax(1) == labels)),
        share=verdict.share,
        confused=confused,
        weights=combined.weights,
    )


@dataclass(frozen=True)
class _Verdict:
    """Probability, evidence and share of wrong labels, as in `Suspicion`."""

    probability: Array
    evidence: Array
    share: NoiseShare


def _judge_labels(
    scores: Array, low_overfit: Array, labels: Integers, sharpness: float, confused: ClassNoise | None
) -> _Verdict:
    """Return which labels are wrong by `scores`, and how many by the `low_overfit` scores."""
    evidence = label_evidence(scores, labels, sharpness)
    if confused is None:
        share = wrong_share(low_overfit, labels)
        return _Verdict(wrong_probability(scores, labels, sharpness, share), evidence, share)
    probability = confused.wrong(labels)
    mean = float(probability.mean())
    evidence = evidence - np.log(np.maximum(probability, SMALLEST_PROBABILITY) / (1 - probability))
    # the confusions make probability and evidence rank samples differently; the list has one order
    return _Verdict(decreasing_with(evidence, probability), evidence, NoiseShare(mean, mean, mean))


def _margins(scores: Array, labels: Integers) -> tuple[Array, Integers]:
    """Return the margin of each given label and the suggested label, [N] each; see `Suspicion`."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    # the given label is kept on ties
    margin = scores[rows, labels] - others.max(1)
    return margin, np.where(margin >= 0, labels, others.argmax(1))
