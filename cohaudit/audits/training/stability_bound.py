"""The bound on the gap that follows from coherent steps, accumulated along a training.

Leave one sample out of full-batch gradient descent: each step then differs by the sample's own part of the
mean gradient, which is the smaller the more it has in common with the others. With an L-Lipschitz and
β-smooth loss, m samples, and α_t the coherence at step t (Chatterjee & Zielinski, arXiv 2203.10036),

    |gap| ≤ (L² / m) Σ_t [Π_{k>t} (1 + η_k β)] η_t √(2 (1 − α_{t−1})).

Between two checkpoints η, β and α are taken as constant, so that n steps multiply what came before by
(1 + ηβ)ⁿ and add (L² / m) η √(2 (1 − α)) ((1 + ηβ)ⁿ − 1) / (ηβ). Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cohaudit.results import Skipped, Stability, StabilityTerm

NOTHING = -300.0
"""Power of ten that a bound of 0 is told by."""
VACUOUS = math.log10(5.0)
"""Powers of ten of a bound, in nats, above which it bounds nothing: a guess among a hundred classes loses so
much."""


@dataclass(frozen=True)
class Segment:
    """The steps from one checkpoint to the next.

    Attributes:
        checkpoint: The latter.
        steps: n, at least 1.
        rate: η, above 0.
        alpha: α at the former, in [0, 1].
        smoothness: β between the two, at least 0.
        lipschitz: L, the largest norm of a sample's gradient so far.
        measured: Gap of the losses on the holdout at the latter.
    """

    checkpoint: str
    steps: int
    rate: float
    alpha: float
    smoothness: float
    lipschitz: float
    measured: float | Skipped


def stability(stretches: Sequence[Segment], samples: int) -> Stability:
    """Accumulate the bound.

    Args:
        stretches: In the order of the training; at least one.
        samples: m.
    """
    terms: list[StabilityTerm] = []
    total = 0.0
    log_sum = -math.inf
    largest = 0.0
    for own in stretches:
        # L only rises, so that the bound does not fall where gradients do
        largest = max(largest, own.lipschitz)
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
                log10_bound=max(NOTHING, (log_sum + _log(scale)) / math.log(10)),
                measured=own.measured,
            )
        )
    return Stability(tuple(terms), _advice(terms))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _log_add(a: float, b: float) -> float:
    high = max(a, b)
    low = min(a, b)
    return high if math.isinf(low) else high + math.log1p(math.exp(low - high))


def _log_repeated(own: Segment, growth: float) -> float:
    """Return log Σ_{s<n} (1 + ηβ)ˢ, which is log n where nothing grows."""
    spread = own.rate * own.smoothness
    if growth < 1e-6:
        return math.log(own.steps)
    # log(e^growth − 1), which overflows no float
    return growth + math.log1p(-math.exp(-growth)) - math.log(spread)


def _advice(terms: Sequence[StabilityTerm]) -> str:
    last = terms[-1]
    bound = f"10^{last.log10_bound:.1f} nats"
    flat = f"{last.total:.3g} nats if differences did not grow"
    told = (
        ""
        if isinstance(last.measured, Skipped)
        else f" The holdout's loss is {last.measured:.3g} nats higher."
    )
    if last.log10_bound > VACUOUS:
        return (
            f"Nothing to do: the gap in loss is below {bound} ({flat}), which bounds nothing here, as in "
            f"nearly every trained network; compare it between trainings, step by step.{told}"
        )
    return f"The gap in loss stays below {bound} ({flat}): nothing to do.{told}"
