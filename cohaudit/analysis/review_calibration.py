"""Probabilities of wrong labels, calibrated by labels that a person reviewed.

A few dozen answers cannot say of each label how probable it is that it is wrong, but they can say how the
probabilities fall along the order of suspicion. Two families of falling curves are compared. One corrects the
scan's probabilities p by an offset and a slope of their log-odds (Platt scaling),

    P = f + (h − f) σ(m + a + b (logit p − m)),    m = logit of the mean p,

and keeps what the scan knows. The other uses its order alone, for a scan whose probabilities are wrong
altogether, such as zero everywhere:

    P = f + (h − f) σ(c (x − s)),    x = −logit(rank / N).

f is the share of wrong labels that no order can find, 1 − h that of right labels at its top. Simple curves
have a probability of their own: that the scan is right (a = 0, b = 1), that its order says nothing (b = 0),
that f = 0 or h = 1. The answers decide between all of these by Bayes' rule. The posterior is sampled by a
sequential Monte Carlo sampler (Del Moral, Doucet & Jasra, Journal of the Royal Statistical Society B 2006)
with preconditioned Crank–Nicolson moves (Cotter, Roberts, Stuart & White, Statistical Science 2013).

How a sample was chosen to be asked about does not matter for the posterior, as long as the choice used
nothing but the order; how well it was chosen matters for its width (`review_design`).

Arrays: N samples, n reviewed ones, M draws, K knots. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.analysis.log_odds import log_odds, probability_of
from cohaudit.results import Estimate
from cohaudit.results.sample_table import order_by_suspicion

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_REVIEWS = 10
"""Fewest reviewed labels that calibrate the others: fewer leave the curve to what is assumed about it."""

COVERAGE = 0.9
"""Probability with which each interval holds the true value, by the posterior."""

SCAN_FAMILY = 0.75
"""Prior probability of the family that keeps the scan's probabilities; the other keeps its order alone."""

OFFSET_SCALE = 1.3
"""Scale of the offset a, which has a logistic distribution: log 10 = 2.3, a scan that is off by a factor of
10, is ordinary, and a factor of 1,000, such as of a scan that suspects nothing, is possible."""

SLOPE_SD = 0.7
"""Standard deviation of log b: a scan whose log-odds are twice too large, or too small, is ordinary."""

NO_OFFSET = 0.1
"""Prior probability of a = 0."""

UNIT_SLOPE = 0.4
"""Prior probability of b = 1."""

NO_SLOPE = 0.15
"""Prior probability of b = 0: the order says nothing."""

NO_PLATEAU = 0.6
"""Prior probability of f = 0, and of h = 1, in the family that keeps the scan's probabilities."""

NO_FLOOR = 0.2
"""Prior probability of f = 0 in the family that keeps the order alone."""

FLOORS = (1e-3, 0.6)
"""Range of f otherwise, log-uniform; up to 0.9 for the order alone, where a flat curve is f = h."""

TOP_GAPS = (1e-2, 0.9)
"""Range of 1 − h otherwise, log-uniform."""

STEEPNESS = (0.5, 20.0)
"""Range of c, log-uniform: from hardly falling to a step."""

SMALLEST_PROBABILITY = 1e-4
"""Least distance of the scan's probabilities from 0 and from 1, so that log-odds stay finite."""

DRAWS = 1000
"""Draws of the posterior: their mean is exact to about 0.005."""

MOVES = 3
"""Moves of each draw after each step of the sampler."""

KNOTS = 120
"""Knots of a curve, spaced evenly and once more by the logarithm of the rank; between them it is
interpolated. Curves are that smooth, and the work does not grow with the number of samples."""


@dataclass(frozen=True)
class Reviews:
    """Labels that a person found right or wrong.

    Attributes:
        samples: Their indices, each once, [n].
        wrong: Whether each is wrong, [n].
    """

    samples: Integers
    wrong: NDArray[np.bool_]


@dataclass(frozen=True)
class CalibratedLabels:
    """What the answers say about all labels.

    Attributes:
        probability: Probability that each label is wrong; 0 or 1 for the reviewed ones, [N].
        share: Share of wrong labels, with its interval.
        precision: Share of the suspects whose label is wrong, with its interval; None without suspects.
    """

    probability: Array
    share: Estimate
    precision: Estimate | None


def calibrate_by_reviews(
    probability: Array, evidence: Array, reviews: Reviews, threshold: float, seed: int
) -> CalibratedLabels:
    """Calibrate the probabilities of wrong labels by reviewed ones.

    Args:
        probability: Probability that each label is wrong, by the scan, [N].
        evidence: Orders equal probabilities: the lower, the more suspicious, [N].
        reviews: The answers, at least one.
        threshold: Smallest probability that makes a sample a suspect.
        seed: Seed of the sampler.
    """
    order = order_by_suspicion(probability, evidence)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    at = rank[reviews.samples]
    knots = _knots(len(order))
    curves = _Curves(probability[order], knots)
    generator = np.random.default_rng(seed)
    drawn = curves(_sample_posterior(curves, _counts(knots, at, reviews.wrong), generator))
    calibrated = np.empty(len(order))
    calibrated[order] = np.interp(np.arange(len(order)), knots, drawn.mean(0))
    calibrated[reviews.samples] = reviews.wrong
    open_ranks = np.ones(len(order), dtype=bool)
    open_ranks[at] = False
    suspect = calibrated[order] >= threshold

    def share_of(chosen: NDArray[np.bool_]) -> Estimate:
        wrong = int(np.sum(chosen[at] & reviews.wrong))
        return _share(drawn, _weights(knots, chosen & open_ranks), wrong, int(chosen.sum()), generator)

    return CalibratedLabels(
        probability=calibrated,
        share=share_of(np.ones(len(order), dtype=bool)),
        precision=share_of(suspect) if suspect.any() else None,
    )


def _knots(count: int) -> Integers:
    """Return the ranks at which curves are evaluated, rising, from the first to the last, [K]."""
    by_logarithm = np.geomspace(1, count, KNOTS).astype(np.int64) - 1
    evenly = np.linspace(0, count - 1, KNOTS).astype(np.int64)
    return np.unique(np.concatenate([by_logarithm, evenly]))


def _counts(knots: Integers, ranks: Integers, wrong: NDArray[np.bool_]) -> Array:
    """Return how many reviewed labels are right, and wrong, shared between the knots around each, [2, K]."""
    return np.stack([_weights_at(knots, ranks[~wrong]), _weights_at(knots, ranks[wrong])])


def _weights(knots: Integers, chosen: NDArray[np.bool_]) -> Array:
    """Return weights of the knots whose sum over a curve is the curve's sum over the chosen ranks, [K]."""
    return _weights_at(knots, np.flatnonzero(chosen))


def _weights_at(knots: Integers, ranks: Integers) -> Array:
    if len(knots) == 1:
        return np.array([float(len(ranks))])
    left = np.clip(np.searchsorted(knots, ranks, side="right") - 1, 0, len(knots) - 2)
    part = (ranks - knots[left]) / (knots[left + 1] - knots[left])
    weights = np.bincount(left, 1 - part, len(knots)) + np.bincount(left + 1, part, len(knots))
    return weights.astype(np.float64)


class _Curves:
    """The curves, as a function of independent standard normal numbers: the prior is their distribution.

    Args:
        probability: Probability that each label is wrong, by the scan, falling, [N].
        knots: Ranks to evaluate at, [K].
    """

    size = 8
    """Numbers that determine a curve."""

    def __init__(self, probability: Array, knots: Integers) -> None:
        count = len(probability)
        within = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        self._center = log_odds(within.mean())
        self._log_odds = log_odds(within[knots]) - self._center
        self._place = -log_odds((knots + 0.5) / count)
        # from the first rank to the last, and one unit beyond the middle toward the tail
        self._ends = (-1.0, float(np.log(2 * count)))

    def __call__(self, numbers: Array, used: slice | Integers = slice(None)) -> Array:
        """Return the curves at the knots, [M, K].

        Args:
            numbers: Standard normal numbers, [M, `size`].
            used: Which of the knots; all if left out.
        """
        u = torch.special.ndtr(torch.from_numpy(numbers)).numpy().T
        offset = np.where(u[1] < NO_OFFSET, 0.0, OFFSET_SCALE * log_odds(np.clip(u[2], 1e-12, 1 - 1e-12)))
        slope = np.exp(SLOPE_SD * numbers[:, 4])
        slope[u[3] < UNIT_SLOPE] = 1.0
        slope[u[3] > 1 - NO_SLOPE] = 0.0
        by_scan = self._center + offset[:, None] + slope[:, None] * self._log_odds[used]
        steepness = _log_uniform(u[2], *STEEPNESS)
        start = self._ends[0] + u[4] * (self._ends[1] - self._ends[0])
        by_order = steepness[:, None] * (self._place[used] - start[:, None])
        from_scan = u[0] < SCAN_FAMILY
        floor = np.where(
            from_scan, _spiked(u[5], NO_PLATEAU, *FLOORS), _spiked(u[5], NO_FLOOR, FLOORS[0], TOP_GAPS[1])
        )
        gap = np.where(from_scan, _spiked(u[6], NO_PLATEAU, *TOP_GAPS), _log_uniform(u[6], *TOP_GAPS))
        top = np.maximum(1 - gap, floor)
        steps = probability_of(np.where(from_scan[:, None], by_scan, by_order))
        curves: Array = floor[:, None] + (top - floor)[:, None] * steps
        return curves


def _sample_posterior(curves: _Curves, counts: Array, generator: np.random.Generator) -> Array:
    """Return draws of the posterior as standard normal numbers, [M, size].

    The likelihood is raised to a power that grows from 0 to 1 in steps, each so small that at least half of
    the draws remain. After each step, the draws are moved.

    Args:
        curves: The prior.
        counts: Number of right and of wrong reviewed labels at each knot, [2, K].
        generator: Random numbers.
    """
    used = np.flatnonzero(counts.any(0))

    def likelihood(numbers: Array) -> Array:
        at = np.clip(curves(numbers, used), 1e-9, 1 - 1e-9)
        log_likelihood: Array = np.log1p(-at) @ counts[0, used] + np.log(at) @ counts[1, used]
        return log_likelihood

    numbers = generator.standard_normal((DRAWS, curves.size))
    found = likelihood(numbers)
    power = 0.0
    while power < 1:
        step = _largest_step(found, 1 - power)
        weights = np.exp(step * (found - found.max()))
        # systematic resampling: one random number for all draws
        places = (np.arange(DRAWS) + generator.random()) / DRAWS * weights.sum()
        kept = np.minimum(np.searchsorted(np.cumsum(weights), places), DRAWS - 1)
        numbers, found = numbers[kept], found[kept]
        power += step
        for _ in range(MOVES):
            # moves of all sizes: large ones change the kind of curve, small ones refine it
            size = generator.uniform(0.05, 1, (DRAWS, 1)) ** 2
            proposed = np.sqrt(1 - size**2) * numbers + size * generator.standard_normal(numbers.shape)
            then = likelihood(proposed)
            accepted = np.log(generator.random(DRAWS)) < power * (then - found)
            numbers[accepted] = proposed[accepted]
            found[accepted] = then[accepted]
    return numbers


def _largest_step(log_likelihood: Array, most: float) -> float:
    """Return the largest step of the power, up to `most`, that leaves half of the draws effective."""

    def effective(step: float) -> float:
        weights = np.exp(step * (log_likelihood - log_likelihood.max()))
        return float(weights.sum() ** 2 / np.square(weights).sum())

    if effective(most) >= DRAWS / 2:
        return most
    low, high = 0.0, most
    # to a thousandth of the step; the loop above ends, since a step is never 0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= DRAWS / 2 else (low, middle)
    return high


def _share(curves: Array, weights: Array, wrong: int, count: int, generator: np.random.Generator) -> Estimate:
    """Return the share of wrong labels among some samples, with its interval.

    Args:
        curves: Draws of the curve, [M, K].
        weights: Weights of the knots that sum a curve over the samples that were not reviewed, [K].
        wrong: Number of wrong labels among those that were.
        count: Number of samples, at least 1.
        generator: Random numbers.
    """
    expected = curves @ weights
    # each label is right or wrong: the normal approximation of a sum of independent ones
    spread = np.sqrt((curves * (1 - curves)) @ weights)
    total = expected + spread * generator.standard_normal(len(expected))
    shares = np.clip(total, 0, weights.sum()) / count + wrong / count
    # if none was found, none may exist: the interval is then one-sided
    tails = (0.0, COVERAGE) if wrong == 0 else ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
    low, high = (float(end) for end in np.quantile(shares, tails))
    return Estimate(float(expected.mean() + wrong) / count, 0.0 if wrong == 0 else low, high)


def _spiked(u: Array, spike: float, low: float, high: float) -> Array:
    """Return 0 with the probability `spike`, else a number that is log-uniform in a range."""
    return np.where(u < spike, 0.0, _log_uniform(np.maximum(u - spike, 0) / (1 - spike), low, high))


def _log_uniform(u: Array, low: float, high: float) -> Array:
    values: Array = low * (high / low) ** u
    return values
