"""Would the rest of the data support this label, judging by what the network's layers see of the sample?

Each layer's view of the samples predicts every label from all other samples, by ridge regression in closed
form. The network's own prediction is one more, and so is that of each earlier checkpoint. Deep layers know
more, but may have overfit the memorized labels. All predictions are combined, and one that fits labels which
those before it do not support counts less.

Arrays: N samples, C classes, F numbers per view. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.label_verdict import (
    CALIBRATION,
    CALIBRATION_ALONE,
    NoiseShare,
    judge_by,
    label_is_right,
)
from cohaudit.analysis.score_rows import (
    ScoreRows,
    fitted_sample,
    is_whole,
    score_blocks,
    stored,
    without,
)
from cohaudit.analysis.weighed_predictions import (
    Predictions,
    gather_predictions,
    pool_labels,
    predict_by_layers,
)
from cohaudit.arrays import blocks_of, release

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Regularization strengths tried, in units of one sample's squared length."""

WHOLE_VIEW = 2**25
"""Numbers in a view up to which the regularization is chosen by all samples: an eighth of a gigabyte as it is
stored."""

DOUBLE_PRODUCTS = 2**22
"""Numbers in a view up to which its products are float64: of more, float32 takes half of the time, and sums
over blocks of samples are float64 all the same."""


@dataclass(frozen=True)
class LeaveOneOutPrediction:
    """What a view predicts for each sample from all others; the scores of samples are computed when asked.

    Attributes:
        view: What a layer sees of the samples, [N, F].
        labels: Given labels, [N].
        center: Mean of the view, float64 [F].
        scale: Largest absolute number of the centered view, above 0.
        weights: Ridge regression of centered labels on unit rows, float64 [F, C].
        leverage: h_i, see `leave_one_out`, float64 [N].
        share: Share of each class, float64 [C].
        ridge: Regularization strength with the smallest leave-one-out error.
    """

    view: NDArray[np.float32]
    labels: Integers
    center: Tensor
    scale: float
    weights: Tensor
    leverage: Tensor
    share: Tensor
    ridge: float

    @property
    def shape(self) -> tuple[int, int]:
        """N and C."""
        return len(self.labels), len(self.share)

    @property
    def scores(self) -> Array:
        """About the share of each sample's surroundings that carries each label, [N, C]."""
        return stored(self, "leave-one-out predictions")

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the scores of some samples, [n, C]; float64 if all samples' are small enough, else float32.

        Args:
            rows: Slice, or indices of the samples.
        """
        dtype = torch.float64 if is_whole(self.shape) else torch.float32
        x = self.unit_rows(rows, dtype)
        release(self.view)
        leverage = self.leverage[rows].to(dtype)[:, None]
        scores = x @ self.weights.to(dtype) + leverage * self.share.to(dtype)
        # less h times the own label, which is 1 in one place
        scores[torch.arange(len(x)), torch.from_numpy(self.labels[rows])] -= leverage[:, 0]
        found: NDArray[np.floating] = (scores / (1 - leverage)).add_(self.share.to(dtype)).numpy()
        return found

    def unit_rows(self, rows: slice | Integers, dtype: torch.dtype) -> Tensor:
        """Return the centered rows of some samples scaled to length 1, [n, F]."""
        return _unit_rows(self.view, rows, self.center, self.scale, dtype)


def leave_one_out(
    view: NDArray[np.float32], labels: Integers, classes: int, ridges: Sequence[float] = RIDGES
) -> LeaveOneOutPrediction:
    """Predict each sample's label from all other samples, in closed form.

    Kernel ridge regression of one-hot labels on centered, length-normalized features. With
    K = XᵀX + λI and h_i = x_iᵀK⁻¹x_i, the prediction without sample i is (ŷ_i − h_i y_i) / (1 − h_i)
    (PRESS; Allen, Technometrics 1974), so that no model is refitted. λ is the one of `ridges` whose
    predictions are closest to the labels, of at most `WHOLE_NUMBERS` / C samples. One eigendecomposition
    serves all of them.

    Labels are taken relative to the class shares. These include the sample's own label, the only way in which
    it affects its own scores (by about 1 / N): shares without it would rank the sample's own class last
    wherever the features are uninformative.

    Args:
        view: What a layer sees of the samples, [N, F].
        labels: Given labels, [N].
        classes: C.
        ridges: Regularization strengths to try, above 0.
    """
    center, scale = _center_and_scale(view)
    gram, target, share = _sums(view, labels, classes, center, scale)
    # of XᵀX, not XXᵀ: F is at most a few hundred, N may be many thousands
    values, vectors = torch.linalg.eigh(gram)
    turned_target = vectors.T @ target

    # rounding can make the smallest eigenvalues of a positive semidefinite matrix negative
    shrinks = torch.stack([1 / (values.clamp_min(0) + ridge) for ridge in ridges], 1)
    blank = torch.zeros(len(view), dtype=torch.float64)
    rows = LeaveOneOutPrediction(view, labels, center, scale, turned_target, blank, share, ridges[0])
    some = np.arange(len(view))[fitted_sample((len(view), classes))]
    if not is_whole(view.shape, WHOLE_VIEW):
        some = some[fitted_sample((len(some), view.shape[1]), WHOLE_VIEW)]
    errors, leverages = _errors(rows, vectors, shrinks, some)
    # the first of the smallest: on ties the weaker regularization
    best = int(np.argmin(errors))
    leverage = torch.zeros(len(view), dtype=torch.float64)
    leverage[some] = leverages[:, best]
    if len(some) < len(view):
        leverage = _leverage(rows, vectors * shrinks[:, best].sqrt())
    weights = vectors @ (shrinks[:, best, None] * turned_target)
    return replace(rows, weights=weights, leverage=leverage, ridge=ridges[best])


def _errors(
    rows: LeaveOneOutPrediction, vectors: Tensor, shrinks: Tensor, places: Integers
) -> tuple[Array, Tensor]:
    """Return the squared error of each ridge's scores, [ridges], and the leverages, float64 [n, ridges].

    Args:
        rows: The view and the labels; its weights are Xᵀ times the centered labels, turned, [F, C].
        vectors: Eigenvectors of XᵀX, [F, F].
        shrinks: 1 / (eigenvalue + ridge), [F, ridges].
        places: Indices of the samples, [n].
    """
    dtype = _product_type(rows.view)
    own_vectors = vectors.to(dtype)
    errors = np.zeros(shrinks.shape[1])
    leverages = torch.zeros(len(places), shrinks.shape[1], dtype=torch.float64)
    for part in blocks_of(len(places), max(rows.view.shape[1], rows.shape[1])):
        # turned once for all ridges: the product with the eigenvectors is what takes the time
        turned = rows.unit_rows(places[part], dtype) @ own_vectors
        leverages[part] = turned.square().double() @ shrinks
        given = torch.from_numpy(rows.labels[places[part]])[:, None]
        for k in range(len(errors)):
            leverage = leverages[part, k, None].to(dtype)
            scores = turned @ (shrinks[:, k, None] * rows.weights).to(dtype) + leverage * rows.share.to(dtype)
            scores.scatter_add_(1, given, -leverage)
            scores = (scores / (1 - leverage)).add_(rows.share.to(dtype))
            scores.scatter_add_(1, given, -torch.ones_like(leverage))
            errors[k] += float(scores.square().sum(dtype=torch.float64))
    release(rows.view)
    return errors, leverages


def _center_and_scale(view: NDArray[np.float32]) -> tuple[Tensor, float]:
    """Return the mean of the rows, float64 [F], and the largest absolute number of the centered ones."""
    center = torch.zeros(view.shape[1], dtype=torch.float64)
    for rows in blocks_of(*view.shape):
        center += torch.from_numpy(view[rows]).sum(0, dtype=torch.float64)
    center /= len(view)
    low = torch.from_numpy(view.min(0, initial=np.inf)).double() - center
    high = torch.from_numpy(view.max(0, initial=-np.inf)).double() - center
    largest = torch.maximum(low.abs(), high.abs()).amax() if view.size else torch.zeros(())
    release(view)
    return center, float(largest.clamp_min(torch.finfo(torch.float64).tiny))


def _unit_rows(
    view: NDArray[np.float32], rows: slice | Integers, center: Tensor, scale: float, dtype: torch.dtype
) -> Tensor:
    # scaled by the largest number first: normalize treats lengths below 1e-12 as zero, at whatever scale
    x = ((torch.from_numpy(view[rows]).double() - center) / scale).to(dtype)
    return torch.nn.functional.normalize(x, dim=1)


def _product_type(view: NDArray[np.float32]) -> torch.dtype:
    """Return the type of products of a view; their sums over the samples are float64 all the same."""
    return torch.float64 if is_whole(view.shape, DOUBLE_PRODUCTS) else torch.float32


def _sums(
    view: NDArray[np.float32], labels: Integers, classes: int, center: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return XᵀX, [F, F], Xᵀ times the centered labels, [F, C], and the class shares, [C]; all float64."""
    width = view.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64)
    sums = torch.zeros(classes, width, dtype=torch.float64)
    for rows in blocks_of(*view.shape):
        x = _unit_rows(view, rows, center, scale, _product_type(view))
        gram += x.T @ x
        sums.index_add_(0, torch.from_numpy(labels[rows]), x.double())
    release(view)
    # the class shares stay fixed when a sample is left out, see `leave_one_out`
    share = torch.from_numpy(np.bincount(labels, minlength=classes) / len(labels))
    return gram, sums.T - sums.sum(0)[:, None] * share, share


def _leverage(found: LeaveOneOutPrediction, root: Tensor) -> Tensor:
    """Return h_i = ‖x_i R‖² with RRᵀ = K⁻¹, float64 [N]."""
    view = found.view
    leverage = torch.zeros(len(view), dtype=torch.float64)
    root = root.to(_product_type(view))
    for rows in blocks_of(*view.shape):
        leverage[rows] = (found.unit_rows(rows, root.dtype) @ root).square().sum(1, dtype=torch.float64)
    release(view)
    return leverage


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
    expected_by_layers: ScoreRows
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
    each = [leave_one_out(view, labels, own.shape[1]) for view in views]
    return suspect_labels_by(each, labels, own, earlier, out_of_sample, crossfit=crossfit, trained=trained)


def suspect_labels_by(
    predictions: Sequence[ScoreRows],
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
    outside = [*out_of_sample] if crossfit is None else [*out_of_sample, crossfit]
    seen = gather_predictions(predictions, [*earlier, own], outside, labels)
    pool = pool_labels(seen, labels, trained)
    verdict = judge_by(
        pool.fit,
        stored(pool.probability, f"the expected labels of {len(labels):,} samples"),
        labels,
        CALIBRATION if outside else CALIBRATION_ALONE,
    )
    # the network's own layers tell how the gap divides among the classes, and which of them overfit
    by_layers = predict_by_layers(seen, labels, trained)
    return Suspicion(
        probability=verdict.probability,
        evidence=verdict.evidence,
        expected=verdict.expected,
        expected_by_layers=by_layers.probability,
        overfit_share=by_layers.overfit_share,
        disagreements=by_layers.disagreements,
        memorization=by_layers.memorization,
        margin=margins(verdict.expected, labels),
        suggested=verdict.suggested,
        suggestion=label_is_right(verdict.noise, labels, verdict.probability, verdict.suggested),
        accuracy=by_layers.accuracy,
        share=verdict.share,
        determined=verdict.determined,
        weights=pool.weights,
        noise=verdict.noise,
        noise_without_crossfit=verdict.noise
        if crossfit is None
        else _noise_without_crossfit(seen, labels, trained),
    )


def _noise_without_crossfit(seen: Predictions, labels: Integers, trained: Integers) -> ClassNoise:
    pool = pool_labels(replace(seen, outside=seen.outside[:-1]), labels, trained)
    # the calibration does not matter: it is of the suspicions, not of the noise
    return judge_by(pool.fit, stored(pool.probability, "the expected labels"), labels, CALIBRATION).noise


def margins(expected: ScoreRows, labels: Integers) -> Array:
    """Return the expected probability of each given label minus the largest other one, [N].

    Args:
        expected: Probability of each label from the other samples, [N, C].
        labels: Given labels, [N].
    """
    margin = np.empty(len(labels))
    for rows, block in score_blocks(expected):
        given = block[np.arange(len(block)), labels[rows]]
        margin[rows] = given - without(block, labels[rows], -np.inf).max(1)
    return margin
