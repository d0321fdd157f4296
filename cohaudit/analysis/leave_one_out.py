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

from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.combined_prediction import combine_predictions
from cohaudit.analysis.label_noise import as_probabilities
from cohaudit.analysis.label_verdict import (
    CALIBRATION,
    CALIBRATION_ALONE,
    NoiseShare,
    judge_labels,
    label_is_right,
)
from cohaudit.analysis.memorization import memorization
from cohaudit.analysis.pooled_prediction import calibrated, pool_predictions
from cohaudit.results.thresholds import SUSPICION_POWER

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
        evidence: Log-odds that the label is right; the lower, the more suspicious, [N].
        expected: Probability of each label from the other samples, [N, C].
        expected_by_layers: The same by the network's layers and answers alone, [N, C].
        overfit_share: Share of the labels not supported by the predictions before it that each one fits, [P].
        disagreements: Number of labels not supported by the predictions before it, [P].
        memorization: How far only a network that saw the sample would give its label, 0 to 1, [N].
        margin: Expected probability of the given label minus the largest other one, [N].
        suggested: Likeliest label by the other samples, whatever label is given, [N].
        suggestion: Probability that the suggested label is right, the given one considered, [N].
        accuracy: Share of the given labels that leave-one-out prediction by the network's layers finds.
        share: Estimated share of wrong labels, and whether it can be told.
        determined: Part of the disputed labels that have to be wrong, 0 to 1; see `label_verdict`.
        weights: Weight of each out-of-sample prediction, then of each of the P, summing to 1.
        noise: Noise rates by class, and the probability of each true label.
        noise_without_crossfit: The same by the pool without the answers of a cross-fit.
    """

    probability: Array
    evidence: Array
    expected: Array
    expected_by_layers: Array
    overfit_share: Array
    disagreements: Integers
    memorization: Array
    margin: Array
    suggested: Integers
    suggestion: Array
    accuracy: float
    share: NoiseShare
    determined: float
    weights: Array
    noise: ClassNoise
    noise_without_crossfit: ClassNoise


def suspect_labels(
    views: Sequence[NDArray[np.float32]],
    labels: Integers,
    own: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
    out_of_sample: Sequence[NDArray[np.floating]] = (),
    *,
    crossfit: NDArray[np.floating] | None = None,
    trained: Integers | None = None,
) -> Suspicion:
    """Find the labels that the rest of the data does not support.

    Args:
        views: What layers see of the samples, input side first, [N, any] each; at least one.
        labels: Given labels, [N].
        own: The network's own probability of each class, [N, C]; C at least 2.
        earlier: The same of earlier checkpoints, oldest first, [N, C] each.
        out_of_sample: Class probabilities by models that never saw the network, [N, C] each.
        crossfit: Class probabilities by copies of the network that never saw the sample, [N, C]; None
            without a cross-fit.
        trained: Labels that the network was trained on, which its layers may have bent to, [N]; the given
            ones if left out.
    """
    each = [leave_one_out(view, labels, own.shape[1]).scores for view in views]
    return suspect_labels_by(each, labels, own, earlier, out_of_sample, crossfit=crossfit, trained=trained)


def suspect_labels_by(
    predictions: Sequence[Array],
    labels: Integers,
    own: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
    out_of_sample: Sequence[NDArray[np.floating]] = (),
    *,
    crossfit: NDArray[np.floating] | None = None,
    trained: Integers | None = None,
) -> Suspicion:
    """Do the same as `suspect_labels`, from the views' leave-one-out scores.

    Args:
        predictions: Leave-one-out scores of each view, input side first, [N, C] each; at least one.
        labels: Given labels, [N].
        own: The network's own probability of each class, [N, C]; C at least 2.
        earlier: The same of earlier checkpoints, oldest first, [N, C] each.
        out_of_sample: Class probabilities by models that never saw the network, [N, C] each.
        crossfit: Class probabilities by copies of the network that never saw the sample, [N, C]; None
            without a cross-fit.
        trained: Labels that the network was trained on, which its layers may have bent to, [N]; the given
            ones if left out.
    """
    trained = labels if trained is None else trained
    answers = [probability.astype(np.float64) for probability in (*earlier, own)]
    # the network comes last: what it fits beyond all others is memorized
    each = [*predictions, *answers]
    layers = [*(calibrated(scores, labels) for scores in predictions), *answers]
    raw = [part.astype(np.float64) for part in out_of_sample]
    outside = raw if crossfit is None else [*raw, crossfit.astype(np.float64)]
    pooled = pool_predictions(outside, layers, labels, trained=trained)
    calibration = CALIBRATION if outside else CALIBRATION_ALONE
    verdict = judge_labels(pooled.scores, labels, calibration)
    noise = verdict.noise
    if crossfit is not None:
        # the calibration does not matter: it is of the suspicions, not of the noise
        noise = judge_labels(pool_predictions(raw, layers, labels, trained=trained).scores, labels).noise
    # the network's own layers tell how the gap divides among the classes, and which of them overfit
    by_layers = combine_predictions(each, labels, SUSPICION_POWER)
    return Suspicion(
        probability=verdict.probability,
        evidence=verdict.evidence,
        expected=verdict.expected,
        expected_by_layers=as_probabilities(by_layers.scores, labels),
        overfit_share=by_layers.overfit_share,
        disagreements=by_layers.disagreements,
        # what never saw the network comes first: no label has bent it
        memorization=memorization([*outside, *each], trained),
        margin=margins(verdict.expected, labels),
        suggested=verdict.suggested,
        suggestion=label_is_right(verdict.noise, labels, verdict.probability, verdict.suggested),
        accuracy=float(np.mean(by_layers.scores.argmax(1) == labels)),
        share=verdict.share,
        determined=verdict.determined,
        weights=pooled.weights,
        noise=verdict.noise,
        noise_without_crossfit=noise,
    )


def margins(expected: Array, labels: Integers) -> Array:
    """Return the expected probability of each given label minus the largest other one, [N]."""
    rows = np.arange(len(labels))
    others = expected.copy()
    others[rows, labels] = -np.inf
    margin: Array = expected[rows, labels] - others.max(1)
    return margin
