"""Which labels to ask a person about: a sample along the order of suspicion, with known probabilities.

Each part of the order needs answers for another reason. The top and the edge of the list decide how precise
the list is. The long tail decides how many labels are wrong at all: few are wrong there, but it holds most of
the samples. The order itself may be off by a factor, so that no part can be left out. The density below is a
mixture of three, one for each reason.

The samples are taken at the points of a van der Corput sequence, shifted at random (Cranley & Patterson, SIAM
Journal on Numerical Analysis 1976, "Randomization of Number Theoretic Methods for Multiple Integration"), in
the cumulative density. The first n of them are spread evenly for every n: a review can end early, and a
longer one asks the same labels first.

Arrays: N samples, n asked. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results.sample_table import order_by_suspicion

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

EVEN_SHARE = 0.35
"""Share of the questions spread evenly over all samples: they bound the share of wrong labels."""

TOP_SHARE = 0.35
"""Share of the questions with a density of 1 / rank: as many among the ranks 1 to 10 as among 10 to 100. They
find the end of the wrong labels wherever it is, also when the scan is off by a factor of 10."""

EDGE_SHARE = 1 - EVEN_SHARE - TOP_SHARE
"""Share of the questions in proportion to p (1 − p), the variance of an answer if the scan is right: they ask
about the edge of the list, where a scan that is off by a factor is wrong most. The standard deviation, as in
Neyman allocation, would spend most of them on a long tail of small p."""

SMALLEST_DOUBT = 0.001
"""Least distance of a probability from 0 and from 1 in that density: no scan is surer."""


@dataclass(frozen=True)
class ReviewDesign:
    """The samples to ask about.

    Attributes:
        samples: Their indices, in the order to ask, [n].
        inclusion: Expected number of times that a random design of this size asks about each sample, [N];
            it is the probability of being asked where it is below 1 / 2.
    """

    samples: Integers
    inclusion: Array


def design_review(
    probability: Array, evidence: Array, count: int, seed: int, asked: NDArray[np.bool_] | None = None
) -> ReviewDesign:
    """Choose the samples to ask about.

    Args:
        probability: Probability that each label is wrong, [N].
        evidence: Orders equal probabilities: the lower, the more suspicious, [N].
        count: Number of samples to ask about; of fewer samples, all are asked.
        seed: Seed of the random shift.
        asked: Samples that need not be asked about, [N]; none if left out.
    """
    order = order_by_suspicion(probability, evidence)
    if asked is not None:
        order = order[~asked[order]]
    size = min(count, len(order))
    inclusion = np.zeros(len(probability))
    if size == 0:
        return ReviewDesign(np.zeros(0, dtype=np.int64), inclusion)
    density = _density(probability[order])
    inclusion[order] = size * density
    return ReviewDesign(order[_ranks(density, size, seed)], inclusion)


def _density(probability: Array) -> Array:
    """Return the share of the questions that each sample gets, summing to 1; most suspicious first."""
    doubted = np.clip(probability, SMALLEST_DOUBT, 1 - SMALLEST_DOUBT)
    even = np.ones(len(probability))
    top = 1 / (np.arange(len(probability)) + 1)
    edge = doubted * (1 - doubted)
    parts = ((EVEN_SHARE, even), (TOP_SHARE, top), (EDGE_SHARE, edge))
    density: Array = np.sum([share * part / part.sum() for share, part in parts], axis=0)
    return density


def _ranks(density: Array, size: int, seed: int) -> Integers:
    """Return distinct ranks, spread evenly in the cumulative density, in the order to ask, [size]."""
    cumulative = np.cumsum(density)
    shift = float(np.random.default_rng(seed).random())
    free = np.ones(len(density), dtype=bool)
    chosen = []
    for point in _van_der_corput(size):
        at = int(np.searchsorted(cumulative, (point + shift) % 1 * cumulative[-1], side="right"))
        # a sample that is asked about already gives its turn to the nearest that is not
        rank = _nearest(free, min(at, len(density) - 1))
        free[rank] = False
        chosen.append(rank)
    return np.array(chosen, dtype=np.int64)


def _nearest(free: NDArray[np.bool_], rank: int) -> int:
    """Return the free rank closest to the given one; at least one must be free."""
    places = np.flatnonzero(free)
    return int(places[np.abs(places - rank).argmin()])


def _van_der_corput(count: int) -> Iterator[float]:
    """Yield the first points of the van der Corput sequence in base 2: 0, 1/2, 1/4, 3/4, 1/8."""
    for number in range(count):
        # the binary digits of the number, mirrored at the point
        yield int(f"{number:b}"[::-1], 2) / 2 ** max(number.bit_length(), 1)
