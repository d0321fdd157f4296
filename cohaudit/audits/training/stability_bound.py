"""The bound on the gap that would follow from coherent steps, accumulated along a training run.

Leave one sample out of full-batch gradient descent: each step then differs by the sample's own part of the
mean gradient, which is smaller the more it has in common with the others. With an L-Lipschitz and β-smooth
loss, m samples, and α_t the coherence at step t (Chatterjee & Zielinski, arXiv 2203.10036),

    |gap| ≤ (L² / m) Σ_t [Π_{k>t} (1 + η_k β)] η_t √(2 (1 − α_{t−1})).

Between two checkpoints η, β and α are taken as constant, so that n steps multiply what came before by (1 +
ηβ)ⁿ and add (L² / m) η √(2 (1 − α)) ((1 + ηβ)ⁿ − 1) / (ηβ). L and β are lower estimates from the checkpoints,
and training used batches: the gap would be bounded by this number if they were exact and the batch full.
Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cohaudit.results import Skipped, Stability, StabilityTerm
from cohaudit.results.wording import number, true_minus

LOG10_OF_ZERO = -300.0
"""Power of ten that stands for a bound of 0."""

VACUOUS_LOG10 = math.log10(5.0)
"""Power of ten of a bound, in nats, above which it is vacuous: a guess among a hundred classes loses as
much."""

MIN_GROWTH = 1e-6
"""Logarithm of the growth over a segment below which it counts as none: log(e^growth − 1) would lose all
digits."""


@dataclass(frozen=True)
class Segment:
    """The steps from one checkpoint to the next.

    Attributes:
        checkpoint: Name of the second checkpoint.
        steps: n, at least 1.
        rate: η, above 0.
        alpha: α at the first checkpoint, in [0, 1].
        smoothness: β between the two, at least 0.
        lipschitz: L, the largest norm of a sample's gradient at the two.
        measured: Gap of the losses on the holdout at the second checkpoint, in nats.
    """

    checkpoint: str
    steps: int
    rate: float
    alpha: float
    smoothness: float
    lipschitz: float
    measured: float | Skipped


def stability(segments: Sequence[Segment], samples: int) -> Stability:
    """Accumulate the bound over a training run.

    Args:
        segments: Segments between its checkpoints, oldest first; at least one.
        samples: m.
    """
    terms: list[StabilityTerm] = []
    total = 0.0
    # as a logarithm: the product over thousands of steps exceeds float64
    log_sum = -math.inf
    largest = 0.0
    for own in segments:
        # L is the largest so far: the bound must not fall when gradients do
        largest = max(largest, own.lipschitz)
        # at α = 1 leaving a sample out changes nothing
        step = own.rate * math.sqrt(2 * (1 - own.alpha))
        growth = own.steps * math.log1p(own.rate * own.smoothness)
        total += own.steps * step
        log_sum = _log_add(log_sum + growth, _log(step) + _log_repeated(own, growth))
        scale = largest**2 / samples
        terms.append(
            StabilityTerm(
                checkpoint=own.checkpoint,
                steps=own.steps,
                rate=own.rate,
                alpha=own.alpha,
                smoothness=own.smoothness,
                lipschitz=largest,
                adds=scale * own.steps * step,
                total=scale * total,
                log10_bound=max(LOG10_OF_ZERO, (log_sum + _log(scale)) / math.log(10)),
                measured=own.measured,
            )
        )
    return Stability(tuple(terms), _advice(terms))


def _log(value: float) -> float:
    """Return the logarithm, −∞ for 0."""
    return math.log(value) if value > 0 else -math.inf


def _log_add(a: float, b: float) -> float:
    """Return log(eᵃ + eᵇ)."""
    high = max(a, b)
    low = min(a, b)
    # two infinite logarithms have no difference: −∞ − −∞ is NaN
    return high if math.isinf(low) else high + math.log1p(math.exp(low - high))


def _log_repeated(own: Segment, growth: float) -> float:
    """Return log Σ_{s<n} (1 + ηβ)ˢ, given growth = log (1 + ηβ)ⁿ; log n without growth."""
    if growth < MIN_GROWTH:
        return math.log(own.steps)
    # log(e^growth − 1) without overflow
    return growth + math.log1p(-math.exp(-growth)) - math.log(own.rate * own.smoothness)


def _advice(terms: Sequence[StabilityTerm]) -> str:
    """Return what the bound means at the last checkpoint."""
    last = terms[-1]
    bound = f"10^{true_minus(f'{last.log10_bound:.1f}')} nats"
    flat = f"{number(last.total)} nats if differences did not grow"
    measured = (
        ""
        if isinstance(last.measured, Skipped)
        else f" Measured on the holdout: {number(last.measured)} nats."
    )
    if last.log10_bound > VACUOUS_LOG10:
        return (
            f"The gap in loss would be bounded by {bound} ({flat}): vacuous, as for nearly every trained "
            f"network. Compare it between training runs, step by step. Nothing to do.{measured}"
        )
    return f"The gap in loss would be bounded by {bound} ({flat}). Nothing to do.{measured}"
