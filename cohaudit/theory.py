"""What each further claim of the theory is worth on this model, as data; each ends in what to do about it.

Part of the audit; see `results`. Which of them are run is chosen in `further`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.verdict import Estimate, Skipped


@dataclass(frozen=True)
class LayerRatio:
    """One layer's coherent against its incoherent gradient."""

    name: str
    """Of the layer."""
    ratio: Estimate
    """‖μ‖² / mean‖g_i − μ‖² = α / (1 − α): the energy that all samples share over the rest."""
    amplification: float
    """Its ratio over that of the layer before; 1 for the first one."""


@dataclass(frozen=True)
class DepthTrend:
    """Whether depth amplifies what the samples share (Chatterjee & Zielinski, arXiv 2203.10036)."""

    layers: tuple[LayerRatio, ...]
    """Those with a gradient, input side first."""
    orthogonal: float
    """The ratio of samples that have nothing in common, 1 / (m − 1)."""
    slope: Estimate
    """Tenfolds that the ratio rises by from the first of these layers to the last, by least squares."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class LayerSteadiness:
    """One layer's gradients over time, by the optimizer's memory."""

    name: str
    """Of the layer."""
    coherence: float
    """Of its gradients over the last steps: about 0 for noise, 1 for a gradient that never changes."""
    steps: int
    """Of the optimizer."""


@dataclass(frozen=True)
class Memory:
    """What the optimizer's state in the checkpoint tells of the gradients over time; see `inspection`."""

    optimizer: str
    """Which moments it keeps, in words."""
    coherence: float
    """Over time, of all parameters together."""
    layers: tuple[LayerSteadiness, ...]
    """In the order of the checkpoint."""
    advice: str
    """What to do, with the number behind it."""


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
    """Which checkpoint to take, from 0: the one that gives the most labels as corrected by the judge."""
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
    """Power of ten of the bound so far, in nats of the loss, with the growth of differences."""
    measured: float | Skipped
    """Mean loss on the holdout less that of the training at the checkpoint, in nats."""


@dataclass(frozen=True)
class Stability:
    """The bound on the gap that follows from coherent steps (Chatterjee & Zielinski, arXiv 2203.10036)."""

    terms: tuple[Term, ...]
    """By checkpoint, in the order of the training, the first one left out."""
    advice: str
    """What it says, with the number behind it."""


@dataclass(frozen=True)
class Theory:
    """The further audits; each one that was not run says why."""

    depth: DepthTrend | Skipped
    """Whether depth amplifies what the samples share."""
    memory: Memory | Skipped
    """What the optimizer remembers of the gradients over time."""
    trajectory: Trajectory | Skipped
    """What was learned when, and where to stop."""
    stability: Stability | Skipped
    """The stability bound along the training."""
