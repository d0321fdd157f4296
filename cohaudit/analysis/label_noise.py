"""How many labels are wrong, and which: from scores made without looking at a sample's own label.

No label is known to be wrong, but labels can be corrupted deliberately. Give a sample any label but its own:
its leave-one-out scores, which do not depend on its label, then show what a wrong label looks like in this
network, on this data. The given labels are a mixture of correct labels and such wrong ones. Estimating how
large the wrong part is, is mixture proportion estimation from positive and unlabeled samples (Garg, Wu,
Smola, Balakrishnan & Lipton, NeurIPS 2021, "Mixture Proportion Estimation and PU Learning: A Modern
Approach").

Evidence of a label, throughout: log q / (1 − q), its log-odds by the scores.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.isotonic import decreasing_steps

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_SHARPNESS = 300.0
"""Beyond this, a leave-one-out score that leads by 0.1 is certain: no score is that precise."""

SAME_LIKELIHOOD = 0.01
"""Log-likelihoods, in nats, that differ by less explain the labels equally well."""

BOUND_FAILURE_RATE = 0.1
"""Probability that the bound behind the estimate of the share of wrong labels does not hold."""

EVIDENCE_STEPS = 2000
"""Thresholds of the evidence at which the mixture is evaluated, at most."""

MAX_CORRUPTED = 200_000
"""Deliberately corrupted labels compared, at most; of more, evenly spaced ones are taken."""

MIN_GAIN_IN_ERRORS = 3.0
"""Standard errors by which the scores must predict the labels better than the class shares do."""

MAX_SUSPICION = 0.99
"""Largest probability of a wrong label that is reported: the estimate itself is not more certain."""

MAX_EVIDENCE_SHIFT = 64.0
"""Largest evidence, in nats, that overfit scores are assumed to have gained: no honest evidence is as
large."""

EVIDENCE_SHIFT_TOLERANCE = 0.01
"""Precision, in nats, to which that gain is found: less changes no probability visibly."""

SMALLEST_PROBABILITY = 1e-300
"""Floor of probabilities before a logarithm or a division; well above the smallest float64."""


@dataclass(frozen=True)
class LabelNoise:
    """Symmetric noise, fitted: two numbers that explain the given labels from the leave-one-out scores.

    The true label of sample i is t with probability q_it = softmax(β · score_i)_t. The given label is the
    true one with probability 1 − ε, and each other one with ε / (C − 1).

    Attributes:
        sharpness: β ≥ 0, how much a leading score counts.
        share: ε in [0, 1 − 1 / C], the share of wrong labels.
        log_likelihood: Log-likelihood of the given labels, in nats.
    """

    sharpness: float
    share: float
    log_likelihood: float


def _label_probability(scores: Array, labels: Integers, sharpness: float) -> Array:
    """Return q_iy, the probability that the given label is the true one, before noise is considered, [N]."""
    given = scores[np.arange(len(labels)), labels]
    # exp overflows float64 beyond about 709; a probability of exp(-700) is zero anyway
    odds: Array = np.exp(np.minimum(sharpness * (scores - given[:, None]), 700)).sum(1)
    return 1 / odds


def _noise_share(given_is_true: Array, classes: int) -> tuple[float, float]:
    """Return the most likely ε at fixed q, and its log-likelihood, by expectation maximization.

    Args:
        given_is_true: q_iy, [N].
        classes: C.
    """
    share = 0.05
    # expectation maximization of one number; it converges long before 500 steps except near its bounds
    for _ in range(500):
        wrong = share / (classes - 1) * (1 - given_is_true)
        right = (1 - share) * given_is_true
        updated = float(np.mean(wrong / np.maximum(wrong + right, SMALLEST_PROBABILITY)))
        # above 1 − 1 / C labels would be worse than drawn at random; at 0 the iteration could never leave
        updated = min(max(updated, 1e-9), 1 - 1 / classes)
        if abs(updated - share) < 1e-7:
            break
        share = updated
    return share, float(np.log(np.maximum(wrong + right, SMALLEST_PROBABILITY)).sum())


def fit_label_noise(scores: Array, labels: Integers) -> LabelNoise:
    """Fit the two numbers of `LabelNoise` by maximum likelihood.

    Each score was made without its own sample's label (except for its part in the class shares), so that the
    fit is honest without a holdout. Among equally likely fits, the one with the fewest wrong labels is
    chosen: uninformative features explain a rare class as well by label errors as by its rarity.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
    """

    def fitted(sharpness: float) -> LabelNoise:
        share, likelihood = _noise_share(_label_probability(scores, labels, sharpness), scores.shape[1])
        return LabelNoise(sharpness, share, likelihood)

    # two grids instead of an optimizer: the likelihood can have several maxima, and this is deterministic
    steps = np.geomspace(0.5, MAX_SHARPNESS, 24)
    best = _likeliest([fitted(step) for step in steps.tolist()])
    # the second grid refines the first within one step to either side
    ratio = float(steps[1] / steps[0])
    finer = np.geomspace(best.sharpness / ratio, min(best.sharpness * ratio, MAX_SHARPNESS), 9)
    return _likeliest([best, *(fitted(step) for step in finer.tolist())])


def _likeliest(fits: list[LabelNoise]) -> LabelNoise:
    """Return the most likely fit; among equally likely ones, the one with the fewest wrong labels."""
    # a tolerance, because the likelihood is flat where features are uninformative
    bound = max(fit.log_likelihood for fit in fits) - SAME_LIKELIHOOD
    return min((fit for fit in fits if fit.log_likelihood >= bound), key=lambda fit: fit.share)


def expected_labels(scores: Array, sharpness: float) -> Array:
    """Return the probability of each label by the scores, q = softmax(β · score), [N, C].

    Args:
        scores: Leave-one-out scores, [N, C].
        sharpness: β, see `LabelNoise`.
    """
    # relative to the largest score: exp cannot overflow then
    mass = np.exp(sharpness * (scores - scores.max(1, keepdims=True)))
    probability: Array = mass / mass.sum(1, keepdims=True)
    return probability


def label_evidence(scores: Array, labels: Integers, sharpness: float) -> Array:
    """Return log q_iy / (1 − q_iy) of each given label, with q = softmax(β · score), [N].

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
        sharpness: β, see `LabelNoise`.
    """
    given: Array = _evidence(scores, sharpness)[np.arange(len(labels)), labels]
    return given


@dataclass(frozen=True)
class NoiseShare:
    """Estimated share of wrong labels, 0 to 1.

    Attributes:
        lower: Share if as many doubtful labels as possible are correct labels of hard samples.
        estimate: ε, the geometric mean of `lower` and `upper`.
        upper: Share if every doubtful label is wrong.
    """

    lower: float
    estimate: float
    upper: float


def wrong_share(scores: Array, labels: Integers) -> NoiseShare:
    """Estimate the share of wrong labels, by comparing the given labels with deliberately corrupted ones.

    Let F(t) be the share of given labels, and W(t) the share of all labels not given, whose evidence is at
    most t. Then F(t) ≥ ε W(t), and so ε ≤ F(t) / W(t) for every t. The upper bound uses the t with the
    smallest upper confidence limit of this ratio (best bin estimate). It counts every doubtful label as
    wrong; the most likely fit of `LabelNoise` counts as many as possible as hard, and is the lower bound.

    The corrupted labels of a sample include its true one if the given one is wrong, so that with few classes
    and many wrong labels the upper bound is too large. Wrong labels are assumed to be random: if annotators
    confuse two classes, those labels look hard and are not suspected (`class_conditional_noise`). Scores that
    predict the labels no better than the class shares suspect no label.

    Args:
        scores: Leave-one-out scores that have not overfit wrong labels, [N, C].
        labels: Given labels, [N].
    """
    noise = fit_label_noise(scores, labels)
    given, corrupted = _given_and_corrupted(scores, labels, noise.sharpness)
    if not _is_informative(given, labels, noise.share, scores.shape[1]):
        return NoiseShare(0.0, 0.0, 0.0)
    upper = _mixture_share(np.sort(given), corrupted)
    # the geometric mean: both bounds are off by factors, not by differences
    return NoiseShare(noise.share, float(np.sqrt(noise.share * upper)), upper)


def wrong_probability(scores: Array, labels: Integers, sharpness: float, share: NoiseShare) -> Array:
    """Return the probability that each label is wrong, decreasing with its evidence, [N].

    A label with evidence t is wrong with probability ε w(t) / f(t), where w and f are the densities of the
    corrupted and of the given labels; their ratio comes from isotonic regression. Scores that overfit the
    labels give each given label extra evidence that corrupted ones lack. How much follows from `share`: the
    smallest shift is subtracted, found by bisection, at which the given labels imply the upper bound again.

    Args:
        scores: Leave-one-out scores; they may have overfit a little, [N, C].
        labels: Given labels, [N].
        sharpness: β, see `LabelNoise`.
        share: Share of wrong labels, from scores that have not overfit.
    """
    given, corrupted = _given_and_corrupted(scores, labels, sharpness)
    if share.upper == 0:
        return np.zeros(len(labels))
    # the corrupted labels have no such extra evidence, so only the given ones are shifted
    shift = _evidence_shift(np.sort(given), corrupted, share.upper)
    probability: Array = np.minimum(MAX_SUSPICION, share.estimate * _density_ratio(given - shift, corrupted))
    return probability


def _evidence_shift(given: Array, corrupted: Array, upper: float) -> float:
    """Return how much evidence overfitting added to the given labels, in nats; both arrays are sorted."""
    low = 0.0
    high = MAX_EVIDENCE_SHIFT
    if _mixture_share(given, corrupted) >= upper:
        return low
    while high - low > EVIDENCE_SHIFT_TOLERANCE:
        middle = (low + high) / 2
        if _mixture_share(given - middle, corrupted) >= upper:
            high = middle
        else:
            low = middle
    return high


def _given_and_corrupted(scores: Array, labels: Integers, sharpness: float) -> tuple[Array, Array]:
    """Return the evidence of each given label, [N], and of labels that were not given, sorted."""
    evidence = _evidence(scores, sharpness)
    rows = np.arange(len(labels))
    others = np.ones(evidence.shape, dtype=bool)
    others[rows, labels] = False
    corrupted = np.sort(evidence[others])
    # sorted before thinning, so that the kept ones are quantiles of all; the step is rounded up
    return evidence[rows, labels], corrupted[:: -(-len(corrupted) // MAX_CORRUPTED)]


def _is_informative(given: Array, labels: Integers, share: float, classes: int) -> bool:
    """Return whether the scores predict the given labels better than the class shares do."""
    q = 1 / (1 + np.exp(-np.clip(given, -700, 700)))
    by_scores = np.log(np.maximum((1 - share) * q + share / (classes - 1) * (1 - q), SMALLEST_PROBABILITY))
    by_shares = np.log(np.bincount(labels, minlength=classes)[labels] / len(labels))
    # paired by sample, so that what is hard for both cancels
    gain = by_scores - by_shares
    return bool(gain.mean() > MIN_GAIN_IN_ERRORS * gain.std() / np.sqrt(len(gain)))


def _evidence(scores: Array, sharpness: float) -> Array:
    """Return log q / (1 − q) for every sample and label, [N, C]."""
    z = sharpness * scores
    best = z.max(1, keepdims=True)
    mass = np.exp(z - best)
    total = mass.sum(1, keepdims=True)
    # 1 − q as the sum of the other labels: for a nearly certain label, subtraction would give 0
    rest = np.maximum(total - mass, 0)
    sure = mass > 0.5 * total
    rest = np.where(sure, _sum_of_others(mass), rest)
    evidence: Array = (z - best) - np.log(np.maximum(rest, SMALLEST_PROBABILITY))
    return evidence


def _sum_of_others(mass: Array) -> Array:
    """Return each row's sum without its largest entry, in every column, [N, C]; added up, not subtracted."""
    largest = mass.argmax(1)
    others = mass.copy()
    others[np.arange(len(mass)), largest] = 0
    return np.broadcast_to(others.sum(1, keepdims=True), mass.shape)


def _mixture_share(given: Array, corrupted: Array) -> float:
    """Return the upper bound of ε from sorted evidence of the given and of the corrupted labels."""
    # quantiles of the corrupted labels: thresholds are dense where these are
    picked = np.unique(np.linspace(0, len(corrupted) - 1, EVIDENCE_STEPS).astype(int))
    at = corrupted[picked]
    wrong = np.searchsorted(corrupted, at, side="right") / len(corrupted)
    below = np.searchsorted(given, at, side="right") / len(given)
    # Dvoretzky–Kiefer–Wolfowitz bound for both distributions; a sample's corrupted labels depend on each
    # other, so that they count as N independent ones, not N (C − 1)
    slack = 2 * np.sqrt(np.log(4 / BOUND_FAILURE_RATE) / (2 * len(given)))
    # the smallest upper limit, then its plain ratio: choosing the smallest ratio would favor noisy tails
    best = int(np.argmin((below + slack) / wrong))
    return float(min(below[best] / wrong[best], 1.0))


def _density_ratio(given: Array, corrupted: Array) -> Array:
    """Return w / f at each given label's evidence, decreasing with it, [N].

    Isotonic regression of "is corrupted" on the evidence, with each kind of label weighing 1 in total, gives
    w / (w + f).
    """
    values = np.concatenate([given, corrupted])
    weights = np.concatenate(
        [np.full(len(given), 1 / len(given)), np.full(len(corrupted), 1 / len(corrupted))]
    )
    is_corrupted = np.concatenate([np.zeros(len(given)), np.ones(len(corrupted))])
    # equal evidence must get an equal probability, so ties are pooled first
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weights, len(distinct)).astype(np.float64)
    wrong = np.bincount(place, weights * is_corrupted, len(distinct)).astype(np.float64)
    fitted = decreasing_steps(wrong, mass)[place[: len(given)]]
    ratio: Array = fitted / np.maximum(1 - fitted, SMALLEST_PROBABILITY)
    return ratio
