"""How many labels are wrong, and which: from scores that were made without a look at a sample's own label.

No label is known to be wrong; but wrong labels can be made. Give a sample any label but its own, and its
leave-one-out scores, which do not depend on its label, say how a wrong label looks in this network, on these
data. The given labels are a mixture of right ones and of such: how much of them there is, is what positives
and unlabeled samples tell (Garg, Wu, Smola, Balakrishnan & Lipton, NeurIPS 2021, "Mixture Proportion
Estimation and PU Learning: A Modern Approach").

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results.thresholds import MAX_SUSPICION

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_SHARPNESS = 300.0
"""Beyond this a leave-one-out score that leads by 0.1 is certain: sharper than any score is precise."""
SAME_LIKELIHOOD = 0.01
"""Two explanations of the labels whose log-likelihoods differ by less explain them equally well."""
DOUBT = 0.1
"""Chance that the bound behind the estimate of the share of wrong labels does not hold."""
STEPS = 2000
"""Values of the evidence at which the mixture is looked at, at most."""
MOST_MADE = 200_000
"""Made labels compared, at most; of more, evenly spaced ones stand for all."""
CERTAIN = 3.0
"""Standard errors by which scores must beat the class shares to say anything about a label."""
FARTHEST_BENT = 64.0
BENT_STEP = 0.01
"""Most evidence that scores which bent to the labels are taken to have gained, and how finely that is found,
in nats: no honest evidence is as large, and no probability changes visibly by as little."""
TINY = 1e-300


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
        updated = float(np.mean(wrong / np.maximum(wrong + right, TINY)))
        updated = min(max(updated, 1e-9), 1 - 1 / classes)
        if abs(updated - share) < 1e-7:
            break
        share = updated
    return share, float(np.log(np.maximum(wrong + right, TINY)).sum())


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


def expected_labels(scores: Array, sharpness: float) -> Array:
    """Return the probability of each label by the scores, q = softmax(β · score), [N, C].

    Args:
        scores: [N, C].
        sharpness: β.
    """
    mass = np.exp(sharpness * (scores - scores.max(1, keepdims=True)))
    probability: Array = mass / mass.sum(1, keepdims=True)
    return probability


def label_evidence(scores: Array, labels: Integers, sharpness: float) -> Array:
    """Return log q_iy / (1 − q_iy) of each given label, with q = softmax(β · score), [N].

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: As given, [N].
        sharpness: β.
    """
    given: Array = _evidence(scores, sharpness)[np.arange(len(labels)), labels]
    return given


@dataclass(frozen=True)
class Share:
    """How many labels are wrong.

    Attributes:
        lower: With as many of the doubtful labels as possible taken for right and hard.
        estimate: ε, the geometric mean of the other two.
        upper: With every doubtful label taken for wrong.
    """

    lower: float
    estimate: float
    upper: float


def wrong_share(scores: Array, labels: Integers) -> Share:
    """Hold the given labels against labels that are wrong by design.

    With F the share of the given labels, and W that of all labels that were not given, whose evidence is at
    most t: F(t) ≥ ε W(t), so that ε ≤ F(t) / W(t) for every t. The t is the one whose upper bound on this
    ratio is smallest (best bin estimate). That takes every doubtful label for wrong; the likeliest fit of
    `LabelNoise` takes as many as it can for hard.

    Wrong labels are taken for drawn at random: where people take one class for another, they look hard, and
    nobody is accused. Nor is anybody by scores that tell the labels no better than the class shares do.

    Args:
        scores: Leave-one-out scores that have not bent to wrong labels, [N, C].
        labels: As given, [N].
    """
    noise = fit_label_noise(scores, labels)
    given, made = _given_and_made(scores, labels, noise.sharpness)
    if not _say_anything(given, labels, noise.share, scores.shape[1]):
        return Share(0.0, 0.0, 0.0)
    upper = _mixture_share(np.sort(given), made)
    return Share(noise.share, float(np.sqrt(noise.share * upper)), upper)


def wrong_probability(scores: Array, labels: Integers, sharpness: float, share: Share) -> Array:
    """Return the probability that each label is wrong, falling with its evidence, [N].

    A label with evidence t is wrong with probability ε w(t) / f(t): w and f the densities of the made and of
    the given labels, their ratio by isotonic regression. Scores that bent to the labels give every given one
    evidence that made ones lack. How much is told by the share: less is taken off until the given labels
    bound it as `share` says.

    Args:
        scores: Leave-one-out scores; they may have bent a little, [N, C].
        labels: As given, [N].
        sharpness: β, see `LabelNoise`.
        share: Of wrong labels, from scores that have not bent.
    """
    given, made = _given_and_made(scores, labels, sharpness)
    if share.upper == 0:
        return np.zeros(len(labels))
    ordered = np.sort(given)
    none = 0.0
    most = FARTHEST_BENT
    if _mixture_share(ordered, made) >= share.upper:
        most = none
    while most - none > BENT_STEP:
        half = (none + most) / 2
        none, most = (none, half) if _mixture_share(ordered - half, made) >= share.upper else (half, most)
    probability: Array = np.minimum(MAX_SUSPICION, share.estimate * _density_ratio(given - most, made))
    return probability


def _given_and_made(scores: Array, labels: Integers, sharpness: float) -> tuple[Array, Array]:
    """Return the evidence of each given label, [N], and of labels that were not given, sorted."""
    evidence = _evidence(scores, sharpness)
    rows = np.arange(len(labels))
    others = np.ones(evidence.shape, dtype=bool)
    others[rows, labels] = False
    made = np.sort(evidence[others])
    return evidence[rows, labels], made[:: -(-len(made) // MOST_MADE)]


def _say_anything(given: Array, labels: Integers, share: float, classes: int) -> bool:
    """Return whether the given labels are likelier by their scores than by the shares of the classes."""
    q = 1 / (1 + np.exp(-np.clip(given, -700, 700)))
    by_scores = np.log(np.maximum((1 - share) * q + share / (classes - 1) * (1 - q), TINY))
    by_shares = np.log(np.bincount(labels, minlength=classes)[labels] / len(labels))
    gain = by_scores - by_shares
    return bool(gain.mean() > CERTAIN * gain.std() / np.sqrt(len(gain)))


def _evidence(scores: Array, sharpness: float) -> Array:
    """Return log q / (1 − q) for every sample and label, [N, C]."""
    z = sharpness * scores
    best = z.max(1, keepdims=True)
    mass = np.exp(z - best)
    total = mass.sum(1, keepdims=True)
    # 1 − q as the sum of the others: of a certain label it would be 0 by subtraction
    rest = np.maximum(total - mass, 0)
    sure = mass > 0.5 * total
    rest = np.where(sure, _sum_of_others(mass), rest)
    evidence: Array = (z - best) - np.log(np.maximum(rest, TINY))
    return evidence


def _sum_of_others(mass: Array) -> Array:
    """Return the sum of each row without each entry, for the row's largest entry exactly."""
    largest = mass.argmax(1)
    others = mass.copy()
    others[np.arange(len(mass)), largest] = 0
    return np.broadcast_to(others.sum(1, keepdims=True), mass.shape)


def _mixture_share(given: Array, made: Array) -> float:
    """Return ε from sorted evidence of the given labels and of the wrong ones."""
    picked = np.unique(np.linspace(0, len(made) - 1, STEPS).astype(int))
    at = made[picked]
    wrong = np.searchsorted(made, at, side="right") / len(made)
    below = np.searchsorted(given, at, side="right") / len(given)
    # the made labels share their scores in groups of one sample: they count as many as there are samples
    slack = 2 * np.sqrt(np.log(4 / DOUBT) / (2 * len(given)))
    best = int(np.argmin((below + slack) / wrong))
    return float(min(below[best] / wrong[best], 1.0))


def _density_ratio(given: Array, made: Array) -> Array:
    """Return w / f at each given label's evidence, falling with it, [N].

    Isotonic regression (pool adjacent violators) of "was made" on the evidence, both kinds weighing one in
    total, gives w / (w + f).
    """
    values = np.concatenate([given, made])
    weights = np.concatenate([np.full(len(given), 1 / len(given)), np.full(len(made), 1 / len(made))])
    is_made = np.concatenate([np.zeros(len(given)), np.ones(len(made))])
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weights, len(distinct)).astype(np.float64)
    wrong = np.bincount(place, weights * is_made, len(distinct)).astype(np.float64)
    fitted = _falling(wrong, mass)[place[: len(given)]]
    ratio: Array = fitted / np.maximum(1 - fitted, TINY)
    return ratio


def falling_with(evidence: Array, probability: Array) -> Array:
    """Return the probabilities that fall with the evidence and are closest to those given, [N] each."""
    order = np.argsort(evidence, kind="stable")
    fitted = np.empty_like(probability)
    fitted[order] = _falling(probability[order], np.ones(len(order)))
    return fitted


def _falling(part: Array, mass: Array) -> Array:
    """Return the falling step function closest to part / mass, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for own_part, own_mass in zip(part.tolist(), mass.tolist(), strict=True):
        block = (own_part, own_mass, 1)
        while blocks and blocks[-1][0] * block[1] <= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (block[0] + before[0], block[1] + before[1], block[2] + before[2])
        blocks.append(block)
    heights = [block[0] / block[1] for block in blocks]
    return np.repeat(heights, [block[2] for block in blocks])
