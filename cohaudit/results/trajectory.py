"""What the checkpoints of one training show together, as data; `theory` names it as its own."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results.gap import Skipped

STRATA = ("easy", "typical", "hard", "memorized")
"""Of samples: memorized ones, and the others by thirds of how far they are memorized."""


@dataclass(frozen=True)
class Point:
    """One checkpoint of a training."""

    checkpoint: str
    """Name of its file; its path, where names are equal."""
    accuracy: float
    """Share of the training samples predicted as labeled."""
    corrected: float
    """Share of them predicted as labeled, or, where the label is likely wrong, as suggested."""
    expected: float
    """Accuracy to be expected on new data, by the same prediction as the risk's."""
    agreement: float
    """Mean probability that the other samples give to the model's answers."""
    rating: float
    """What the advice goes by: `corrected`, and by as much as right labels are memorized, `agreement`."""
    holdout: float | Skipped
    """Accuracy on the holdout."""
    loss: float
    """Mean training loss, in nats."""
    m_coherence: float
    """Of the whole gradient."""
    easy: float
    """Share of the mean gradient that easy samples own; the four shares add up to 1."""
    typical: float
    """Share that typical samples own."""
    hard: float
    """Share that hard samples own."""
    memorized: float
    """Share that memorized samples own."""
    learned: int
    """Samples predicted as labeled here, and not at the checkpoint before."""
    forgotten: int
    """Samples predicted as labeled at the checkpoint before, and not here."""


@dataclass(frozen=True)
class Series:
    """One figure over the checkpoints."""

    name: str
    """Of the layer or class."""
    values: tuple[float, ...]
    """α_u at each checkpoint; 0 where there is no gradient."""


@dataclass(frozen=True)
class Trajectory:
    """What the network learned when, and where it should have stopped."""

    points: tuple[Point, ...]
    """The checkpoints, in the order of the training."""
    layers: tuple[Series, ...]
    """Coherence of each layer over the checkpoints."""
    classes: tuple[Series, ...]
    """Coherence of each class over the checkpoints."""
    judge: int
    """Which checkpoint says what labels are wrong, from 0: the one with the best expected accuracy."""
    advised: int
    """Which checkpoint to take, from 0: the one with the best rating."""
    takeover: int
    """From which checkpoint on memorized samples own most of the mean gradient; −1: from none."""
    sizes: tuple[int, ...]
    """Easy, typical, hard and memorized samples."""
    learned_at: tuple[int, ...]
    """By sample: from which checkpoint on it is predicted as labeled to the end; −1: it is not in the end."""
    forgotten: tuple[int, ...]
    """By sample: how often it was predicted as labeled at a checkpoint, and not at the next."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class Term:
    """What the steps up to a checkpoint add to the stability bound."""

    checkpoint: str
    """Name as above; the steps are those to it from the checkpoint before."""
    steps: int
    """Gradient steps."""
    rate: float
    """Learning rate."""
    alpha: float
    """α of the gradients at the checkpoint before."""
    smoothness: float
    """β, change of the mean gradient over the change of the weights, between the two checkpoints."""
    lipschitz: float
    """L, largest norm of a sample's gradient so far."""
    adds: float
    """η √(2 (1 − α)) L² / m, summed over the steps: what they add were differences not to grow."""
    total: float
    """Sum of these so far."""
    log10_bound: float
    """Power of ten of the bound so far, in nats, with the growth of differences; −300 for a bound of 0."""
    measured: float | Skipped
    """Mean loss on the holdout less that of the training at the checkpoint, in nats."""


@dataclass(frozen=True)
class Stability:
    """The bound on the gap that follows from coherent steps (Chatterjee & Zielinski, arXiv 2203.10036)."""

    terms: tuple[Term, ...]
    """By checkpoint, in the order of the training, the first one left out."""
    advice: str
    """What it says, with the number behind it."""
