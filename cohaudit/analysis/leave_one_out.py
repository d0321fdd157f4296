"""Would the rest of the data have given this label, judging by what the network's layers see of the sample?

Each layer's view of the samples predicts every label from all other samples, by ridge regression in closed
form; the network's own answer is one more prediction, and so is each answer that it gave earlier in its
training. Deep layers know more, and have bent to the labels that were memorized; all are heard together, and
one that gives the labels which those before it dispute counts less.

Arrays: N samples, C classes, F numbers of a view. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.class_conditional_noise import ClassNoise, fit_class_noise, most_confused
from cohaudit.analysis.label_noise import (
    TINY,
    Share,
    expected_labels,
    falling_with,
    fit_label_noise,
    label_evidence,
    wrong_probability,
    wrong_share,
)
from cohaudit.results.thresholds import GAP_POWER, MEMORIZATION_POWER, SUSPICION_POWER

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Regularizations tried, in units of one sample's squared length."""
LEAST_EXPLAINED = 1e-3
"""Share of the labels' variance that every prediction counts as explaining."""


DOUBTFUL = 0.25
"""Lower estimate of the share of wrong labels over the upper one, from which on they agree."""
WORTH_TELLING = 0.02
"""Share of wrong labels below which their number is of no interest."""
JUST_BELOW = 0.8
FEW_BELOW = 5
"""Suspicions from so large a part of the threshold on are just below it; of no more than so many nothing is
said."""
NAMED_CONFUSIONS = 3
"""Pairs of confused classes named, the most frequent ones."""


@dataclass(frozen=True)
class Prediction:
    """What a view predicts for each sample from all others.

    Attributes:
        scores: About the share of the sample's surroundings that carries each label, [N, C].
        ridge: The regularization with the smallest leave-one-out error.
    """

    scores: Array
    ridge: float


def leave_one_out(
    view: NDArray[np.float32], labels: Integers, classes: int, ridges: Sequence[float] = RIDGES
) -> Prediction:
    """Predict each sample's label from all other samples, in closed form.

    Kernel ridge regression of one-hot labels on centered, length-normalized features. With
    K = XᵀX + λI and h_i = x_iᵀK⁻¹x_i, the prediction without sample i is (ŷ_i − h_i y_i) / (1 − h_i)
    (PRESS; Allen, Technometrics 1974), so that no model is refitted; λ is that of `ridges` whose
    predictions are closest to the labels. One eigendecomposition serves all.

    Labels are taken relative to the class shares. These include the sample's own label, the only way by
    which it reaches its scores (by at most 1 / N): shares without it would rank the own class last wherever
    the features say nothing.

    Args:
        view: What a layer sees, [N, F].
        labels: As given, [N].
        classes: C.
        ridges: Regularizations to try, above 0.
    """
    x = _unit_rows(view)
    y = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).double()
    share = y.mean(0)
    centered = y - share
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned = x @ vectors
    squares = turned.square()
    target = turned.T @ centered
    best: tuple[float, float, Tensor] | None = None
    for ridge in ridges:
        shrink = 1 / (values.clamp_min(0) + ridge)
        leverage = (squares @ shrink)[:, None]
        scores = (turned @ (shrink[:, None] * target) - leverage * centered) / (1 - leverage) + share
        error = float((scores - y).square().sum())
        if best is None or error < best[0]:
            best = error, ridge, scores
    assert best is not None
    return Prediction(best[2].numpy(), best[1])


def _unit_rows(view: NDArray[np.float32]) -> Tensor:
    x = torch.from_numpy(view).double()
    x = x - x.mean(0)
    # on the scale of the largest number, so that what normalize takes for zero is rounding at any scale
    return torch.nn.functional.normalize(x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny), dim=1)


def combine_predictions(scores: Sequence[Array], labels: Integers, power: float) -> tuple[Array, Array]:
    """Combine several predictions.

    A layer that has bent to memorized labels gives exactly the labels that the others dispute. The weight of
    a prediction is R² (1 − r)ᵖ: R² the share of the labels' variance that it explains, and r the share of the
    labels disputed by those before it that it gives; 0 for the first one.

    Args:
        scores: Each [N, C], input side first; at least one.
        labels: As given, [N].
        power: p.

    Returns:
        The weighted mean, [N, C], and the weights, summing to 1.
    """
    total, weights, *_ = _heard(scores, labels, power)
    return total, weights


def _heard(scores: Sequence[Array], labels: Integers, power: float) -> tuple[Array, Array, Array, Integers]:
    """Return what `combine_predictions` does, and each layer's share and count of disputed labels."""
    weights: list[float] = []
    bent: list[float] = []
    counts: list[int] = []
    total = np.zeros_like(scores[0])
    for own in scores:
        disputed = total.argmax(1) != labels if weights else np.zeros(len(labels), dtype=bool)
        bent.append(float(np.mean(own.argmax(1)[disputed] == labels[disputed])) if disputed.any() else 0.0)
        counts.append(int(disputed.sum()))
        weights.append(_explained(own, labels) * (1 - bent[-1]) ** power)
        total += weights[-1] * own
    return total / sum(weights), np.asarray(weights) / sum(weights), np.asarray(bent), np.asarray(counts)


def _explained(scores: Array, labels: Integers) -> float:
    """Return R² of a prediction: 1 − its squared error over that of the class shares."""
    y = np.eye(scores.shape[1])[labels]
    variance = np.square(y - y.mean(0)).sum()
    if variance == 0:
        return LEAST_EXPLAINED
    return max(1 - float(np.square(y - scores).sum() / variance), LEAST_EXPLAINED)


@dataclass(frozen=True)
class Suspicion:
    """The verdict on every label.

    Attributes:
        probability: Of carrying a wrong label, [N].
        evidence: Log-odds of the given label by the other samples alone, and, where classes are confused, by
            who is taken for whom as well; the lower, the more suspect, [N].
        expected: Probability of each label by the other samples alone, [N, C].
        cautious: The same by those views alone that bent to hardly any disputed label, [N, C].
        bent: Share of the labels disputed by those before it that each prediction gives: of the views, of
            the earlier answers and of the network's own, [views + earlier + 1].
        disputed: How many labels those before it dispute, likewise.
        memorization: How far the label can only be given by a network that saw the sample, 0 to 1, [N].
        margin: Leave-one-out score of the given label minus the best other one, [N].
        suggested: The label that the other samples give; the given one where that is best, [N].
        accuracy: Share of the given labels that leave-one-out prediction finds.
        share: Of wrong labels, estimated.
        confused: Which classes are taken for which, where that explains the labels; None where it does not.
        weights: Of the views, of the earlier answers and of the network's own, [views + earlier + 1].
    """

    probability: Array
    evidence: Array
    expected: Array
    cautious: Array
    bent: Array
    disputed: Integers
    memorization: Array
    margin: Array
    suggested: Integers
    accuracy: float
    share: Share
    confused: ClassNoise | None
    weights: Array


def doubt(found: Suspicion) -> str:
    """Return a warning when wrong labels could as well be right ones of hard samples; empty when not."""
    lower = found.share.lower
    upper = found.share.upper
    if upper < WORTH_TELLING or lower > DOUBTFUL * upper:
        return ""
    return (
        f"Between {lower:.1%} and {upper:.1%} of the labels may be wrong: what looks wrong may as well be "
        "right and hard. Look at some of the samples with the lowest loo_margin before acting on the list."
    )


def just_below(found: Suspicion, threshold: float) -> str:
    """Return a notice when more samples are nearly suspects than are; empty when not.

    Suspicions are worth what the estimate of how many labels are wrong is worth: where that is too low, the
    surest ones pile up under the threshold.
    """
    suspects = int((found.probability >= threshold).sum())
    lower = JUST_BELOW * threshold
    near = int(((found.probability >= lower) & (found.probability < threshold)).sum())
    if near <= max(suspects, FEW_BELOW):
        return ""
    many = "suspicion is" if suspects == 1 else "suspicions are"
    return (
        f"{suspects:,} {many} {threshold:g} or more, and {near:,} from {lower:g} to that: look at some of "
        "these as well, and lower --suspicion-threshold if they are wrong."
    )


def confusion(found: Suspicion, names: Sequence[str]) -> str:
    """Return in words which classes are taken for which; empty where labels are wrong by accident."""
    if found.confused is None:
        return ""
    told = [
        f"{share:.0%} of what looks like {names[t]} is labeled {names[g]}"
        for t, g, share in most_confused(found.confused, NAMED_CONFUSIONS)
        if share >= WORTH_TELLING
    ]
    return (
        "Some classes are taken for others, which explains the labels better than errors at random: "
        f"{', '.join(told)}. The suspects are told by that."
    )


def suspect_labels(
    views: Sequence[NDArray[np.float32]],
    labels: Integers,
    answer: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
) -> Suspicion:
    """Find the labels that the rest of the data would not have given.

    Args:
        views: What layers see of the samples, input side first, [N, any] each; at least one.
        labels: As given, [N].
        answer: The network's own probability of each class, [N, C]; C at least 2.
        earlier: What it answered earlier in its training, in that order, [N, C] each.
    """
    each = [leave_one_out(view, labels, answer.shape[1]).scores for view in views]
    return suspect_labels_by(each, labels, answer, earlier)


def suspect_labels_by(
    predictions: Sequence[Array],
    labels: Integers,
    answer: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]] = (),
) -> Suspicion:
    """Do as `suspect_labels` does, from what each view predicts.

    Args:
        predictions: Leave-one-out scores of each view, input side first, [N, C] each; at least one.
        labels: As given, [N].
        answer: The network's own probability of each class, [N, C]; C at least 2.
        earlier: What it answered earlier in its training, in that order, [N, C] each.
    """
    each = [*predictions, *(probability.astype(np.float64) for probability in (*earlier, answer))]
    scores, weights = combine_predictions(each, labels, SUSPICION_POWER)
    strict, _, bent, disputed = _heard(each, labels, GAP_POWER)
    noise = fit_label_noise(scores, labels)
    evidence = label_evidence(scores, labels, noise.sharpness)
    confused = fit_class_noise(scores, labels, noise)
    if confused is None:
        # how many labels are wrong is told strictly; which they are, broadly
        share = wrong_share(strict, labels)
        probability = wrong_probability(scores, labels, noise.sharpness, share)
    else:
        probability = confused.wrong(labels)
        mean = float(probability.mean())
        share = Share(mean, mean, mean)
        evidence = evidence - np.log(np.maximum(probability, TINY) / (1 - probability))
        probability = falling_with(evidence, probability)
    rows = np.arange(len(labels))
    given = scores[rows, labels]
    others = scores.copy()
    others[rows, labels] = -np.inf
    margin = given - others.max(1)
    suggested = np.where(margin >= 0, labels, others.argmax(1))
    return Suspicion(
        probability=probability,
        evidence=evidence,
        expected=expected_labels(scores, noise.sharpness),
        cautious=expected_labels(strict, fit_label_noise(strict, labels).sharpness),
        bent=bent,
        disputed=disputed,
        memorization=_memorization(each, labels),
        margin=margin,
        suggested=suggested if confused is None else confused.true.argmax(1),
        accuracy=float(np.mean(scores.argmax(1) == labels)),
        share=share,
        confused=confused,
        weights=weights,
    )


def _memorization(each: Sequence[Array], labels: Integers) -> Array:
    """Return how far the label can only be given by a network that saw the sample, [N].

    1 − q, with q the probability that a network gives the label which was trained without the sample. Where
    this one gives it, 1 − q p, with p the probability that it gives: of a sample that is hard to fit p is
    still below 1. Feldman & Zhang (NeurIPS 2020, eq. 2) measure the same by training hundreds of networks
    with and without each sample.

    Args:
        each: All predictions, the network's own answer last, [N, C] each.
        labels: As given, [N].
    """
    scores, _ = combine_predictions(each, labels, MEMORIZATION_POWER)
    expected = expected_labels(scores, fit_label_noise(scores, labels).sharpness)
    rows = np.arange(len(labels))
    without = expected[rows, labels]
    own = each[-1][rows, labels]
    memorized: Array = 1 - np.where(each[-1].argmax(1) == labels, without * own, without)
    return memorized
