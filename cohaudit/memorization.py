"""Which samples the network memorized, and which labels are wrong: two questions to each sample's leaf.

Evidence from gradients: do the samples that touch the same weights agree with this one, or fight it
(neighborhood support)? Evidence without labels: would the rest of the data have given this label, in the
network's own early representation (leave-one-out prediction)? The second ranks suspects on a fully fitted
checkpoint, where loss cannot; the first says who supports and who opposes.

Arrays: N samples, C classes, D numbers per sketch, F features. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.neighbors import strongest_cosines

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Sketches = NDArray[np.float32]

BLOCK = 4096
"""Sketches in memory at once where they lie in a file."""
LEAF_COSINE = 0.5
"""Two gradients this close (60 degrees) want mostly the same change: one leaf of the decision tree."""
LARGEST_SHARPNESS = 300.0
"""Beyond this a leave-one-out score that leads by 0.1 is certain: sharper than any score is precise."""
SAME_LIKELIHOOD = 0.01
"""Two explanations of the labels whose log-likelihoods differ by less explain them equally well."""


@dataclass(frozen=True)
class Support:
    """What the gradient neighbors say, per sample.

    Attributes:
        support: Mean signed cosine over the k neighbors with the largest absolute cosine, [N].
        count: Other samples with a cosine of at least `LEAF_COSINE`: the size of the sample's leaf, [N].
        supporters: The neighbors with the largest positive cosine.
        opponents: The neighbors with the most negative cosine.
    """

    support: Array
    count: Integers
    supporters: Side
    opponents: Side


@dataclass(frozen=True)
class Side:
    """Each sample's neighbors on one side, strongest first.

    Attributes:
        indices: [N, n]; -1 where there are no more.
        cosines: [N, n].
    """

    indices: Integers
    cosines: Array

    def of(self, sample: int, count: int) -> list[tuple[int, float]]:
        """Return at most `count` neighbors of a sample as (index, cosine)."""
        pairs = zip(self.indices[sample, :count].tolist(), self.cosines[sample, :count].tolist(), strict=True)
        return [(j, cosine) for j, cosine in pairs if j >= 0]


def neighborhood_support(sketches: Sketches, neighbors: int, strongest: int) -> Support:
    """Ask each sample's gradient neighbors whether they agree with it.

    s_i = mean of cos(g_i, g_j) over the k samples j ≠ i with the largest |cos(g_i, g_j)|, in [−1, 1].
    Every pair is compared, once, in blocks.

    Args:
        sketches: Of the loss gradients, at any scale per sample, [N, D]; N ≥ 2.
        neighbors: k; at most N − 1 are used.
        strongest: Supporters and opponents kept per sample, at most.
    """
    k, n = min(neighbors, len(sketches) - 1), min(strongest, len(sketches) - 1)
    found = strongest_cosines(sketches, max(k, n), LEAF_COSINE)
    # the strongest of all are among the strongest of either side
    both = torch.cat([found.positive, found.negative], 1).double()
    support = both.gather(1, both.abs().topk(k, dim=1).indices).mean(1)
    return Support(
        support.numpy(),
        found.close.numpy(),
        _side(found.supporters[:, :n], found.positive[:, :n]),
        _side(found.opponents[:, :n], found.negative[:, :n]),
    )


def _side(indices: torch.Tensor, cosines: torch.Tensor) -> Side:
    return Side(indices.where(cosines != 0, -1).numpy(), cosines.double().numpy())


def sketched_cosine_error(sketches: Sketches, members: Integers, squared_norms: Array) -> float:
    """Estimate the standard error of a cosine between two sketches, from squared norms known exactly.

    A sketch of D numbers by independent signs gives a squared norm with variance 2 ‖g‖⁴ / D, and an inner
    product with variance (‖g‖² ‖h‖² + ⟨g, h⟩²) / D: of unit vectors at a right angle, half as much. So the
    root mean square of (sketched / exact squared norm − 1), divided by √2, is the error of a cosine near 0.
    Toward ±1 it shrinks, as (1 − cosine²) / √D.

    Args:
        sketches: [N, D]; they may lie in a file.
        members: Which samples, [m].
        squared_norms: Of their gradients at the sketches' scale, above 0, [m].
    """
    if not len(members):
        return 0.0
    blocks = (np.asarray(sketches[members[start : start + BLOCK]]) for start in range(0, len(members), BLOCK))
    squares = np.concatenate([np.einsum("ij,ij->i", rows, rows, dtype=np.float64) for rows in blocks])
    return float(np.sqrt(np.square(squares / squared_norms - 1).mean() / 2))


def leave_one_out_scores(
    features: NDArray[np.float32], labels: Integers, classes: int, ridge: float, votes: Array
) -> Array:
    """Predict each sample's label from all other samples, in closed form.

    Weighted kernel ridge regression of one-hot labels on centered, length-normalized features. With
    K = XᵀVX + λI for votes V and h_i = v_i x_iᵀK⁻¹x_i, the prediction without sample i is
    (ŷ_i − h_i y_i) / (1 − h_i) (PRESS; Allen, Technometrics 1974), so that no model is refitted.

    Labels are taken relative to the class shares of all votes. These include the sample's own vote, the
    only way by which its label reaches its scores (by at most v_i / Σv): shares without it would rank the
    own class last wherever the features say nothing.

    Args:
        features: The network's early representation, [N, F].
        labels: As given, [N].
        classes: C.
        ridge: λ, in units of one sample's squared feature norm; above 0.
        votes: Weight of each sample in the others' predictions, [N], in [0, 1].

    Returns:
        Scores, [N, C]: about the share of the sample's surroundings that carries each label.
    """
    v = torch.from_numpy(votes)[:, None]
    x = torch.from_numpy(features).double()
    x = x - x.mean(0)
    # on the scale of the largest number, so that what normalize takes for zero is rounding at any scale
    x = torch.nn.functional.normalize(x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny), dim=1)
    y = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).double()
    share = (v * y).sum(0) / v.sum().clamp_min(torch.finfo(v.dtype).tiny)
    centered = y - share
    factor = torch.linalg.cholesky((x * v).T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype))
    whitened = torch.linalg.solve_triangular(factor, x.T, upper=False)
    leverage = v * whitened.square().sum(0)[:, None]
    fitted = whitened.T @ (whitened @ (v * centered))
    scores: Array = ((fitted - leverage * centered) / (1 - leverage) + share).numpy()
    return scores


@dataclass(frozen=True)
class LabelNoise:
    """The two numbers that explain the given labels from the leave-one-out scores.

    The true label of sample i is t with probability q_it = softmax(β · score_i)_t; the given one is the
    true one with probability 1 − ε, and any other with ε / (C − 1) (symmetric noise).

    Attributes:
        sharpness: β ≥ 0, how much a leading score is worth.
        share: ε in [0, 1 − 1 / C], the share of wrong labels.
        log_likelihood: Of the given labels, in nats.
    """

    sharpness: float
    share: float
    log_likelihood: float


def _label_probability(scores: Array, labels: Integers, sharpness: float) -> Array:
    """Return q_iy, the probability that the true label is the given one, before the noise is considered."""
    given = scores[np.arange(len(labels)), labels]
    # exp(700) is the last power of e that float64 holds; a probability of exp(-700) is zero anyway
    odds: Array = np.exp(np.minimum(sharpness * (scores - given[:, None]), 700)).sum(1)
    return 1 / odds


def _noise_share(given_is_true: Array, classes: int) -> tuple[float, float]:
    """Return the ε of largest likelihood at fixed q, and that log-likelihood (expectation maximization)."""
    share = 0.05
    for _ in range(500):
        wrong = share / (classes - 1) * (1 - given_is_true)
        right = (1 - share) * given_is_true
        updated = float(np.mean(wrong / np.maximum(wrong + right, 1e-300)))
        updated = min(max(updated, 1e-9), 1 - 1 / classes)
        if abs(updated - share) < 1e-7:
            break
        share = updated
    return share, float(np.log(np.maximum(wrong + right, 1e-300)).sum())


def fit_label_noise(scores: Array, labels: Integers) -> LabelNoise:
    """Fit the two numbers of `LabelNoise` by maximum likelihood.

    Every score was made without its own sample's label (but for its vote in the class shares), so that the
    fit is honest without a holdout. Of explanations that are equally likely, the one with the fewest wrong
    labels is taken: features that say nothing explain a rare class as well by mistakes as by its rarity.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: As given, [N].
    """

    def fitted(sharpness: float) -> LabelNoise:
        share, likelihood = _noise_share(_label_probability(scores, labels, sharpness), scores.shape[1])
        return LabelNoise(sharpness, share, likelihood)

    steps = np.geomspace(0.5, LARGEST_SHARPNESS, 24)
    best = _likeliest([fitted(step) for step in steps.tolist()])
    ratio = float(steps[1] / steps[0])
    finer = np.geomspace(best.sharpness / ratio, min(best.sharpness * ratio, LARGEST_SHARPNESS), 9)
    return _likeliest([best, *(fitted(step) for step in finer.tolist())])


def _likeliest(fits: list[LabelNoise]) -> LabelNoise:
    """Return the likeliest fit; of several equally likely ones, that with the fewest wrong labels."""
    bound = max(fit.log_likelihood for fit in fits) - SAME_LIKELIHOOD
    return min((fit for fit in fits if fit.log_likelihood >= bound), key=lambda fit: fit.share)


def wrong_label_probability(scores: Array, labels: Integers, noise: LabelNoise) -> Array:
    """Return each sample's probability of carrying a wrong label, by Bayes' rule from `LabelNoise`, [N]."""
    given_is_true = _label_probability(scores, labels, noise.sharpness)
    wrong = noise.share / (scores.shape[1] - 1) * (1 - given_is_true)
    probability: Array = wrong / np.maximum(wrong + (1 - noise.share) * given_is_true, 1e-300)
    return probability


@dataclass(frozen=True)
class Suspicion:
    """The verdict on every label.

    Attributes:
        probability: Of carrying a wrong label, [N].
        margin: Leave-one-out score of the given label minus the best other one, [N].
        suggested: The label with the highest leave-one-out score; the given one where that is best, [N].
        accuracy: Share of the given labels that leave-one-out prediction finds, with every sample voting.
        noise: The fitted noise model.
    """

    probability: Array
    margin: Array
    suggested: Integers
    accuracy: float
    noise: LabelNoise


def suspect_labels(
    features: NDArray[np.float32], labels: Integers, classes: int, ridge: float, rounds: int
) -> Suspicion:
    """Find the labels that the rest of the data would not have given.

    In the first round every sample votes; in each later one a sample's vote is its probability of being
    right so far, so that wrong labels stop vouching for each other.

    Args:
        features: The network's early representation, [N, F].
        labels: As given, [N].
        classes: C, at least 2.
        ridge: See `leave_one_out_scores`.
        rounds: At least 1.
    """
    rows = np.arange(len(labels))
    votes = np.ones(len(labels))
    accuracy = 0.0
    for turn in range(rounds):
        scores = leave_one_out_scores(features, labels, classes, ridge, votes)
        if turn == 0:
            accuracy = float(np.mean(scores.argmax(1) == labels))
        noise = fit_label_noise(scores, labels)
        probability = wrong_label_probability(scores, labels, noise)
        votes = 1 - probability
    given = scores[rows, labels]
    others = scores.copy()
    others[rows, labels] = -np.inf
    margin = given - others.max(1)
    suggested = np.where(margin >= 0, labels, others.argmax(1))
    return Suspicion(probability, margin, suggested, accuracy, noise)
