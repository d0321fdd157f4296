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


class LayerUnits:
    """How one hidden layer's coherent gradient is spread over its units."""

    name: str
    """Of the layer."""
    kind: str
    """What its units are: units, channels or heads."""
    coherence: tuple[float, ...]
    """Pairwise coherence α_u of each unit's gradients over all samples."""
    energy: tuple[float, ...]
    """Share of each unit in what samples of one class have in common; 0 for one whose samples disagree."""
    participation: float
    """(Σe)² / (units · Σe²): 1 if all units hold the same energy, 1 / units if one holds all of it."""
    kept: tuple[int, ...]
    """The fewest units that hold nine tenths of the energy, in ascending order."""


@dataclass(frozen=True)
class SubNetwork:
    """What a network answers with its most coherent units alone."""

    share: float
    """Of the coherent energy of each hidden layer that the units hold."""
    units: int
    """How many they are, of all hidden layers together."""
    accuracy: float
    """On the training labels, with the outputs of all other units zeroed."""
    random: float
    """The same with as many units of each layer drawn at random, the mean of a few draws."""


@dataclass(frozen=True)
class CoherentWidth:
    """How much of the width carries what samples share; see docs/width.md."""

    layers: tuple[LayerUnits, ...]
    """The hidden ones that have units, input side first."""
    units: int
    """Of all of them."""
    accuracy: float
    """Of the whole network, on the training labels."""
    sub_networks: tuple[SubNetwork, ...]
    """The smaller share first."""
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


class TrainedDecay:
    """The weight decay that a network was trained with."""

    value: float
    """λ of the optimizer; the largest where its groups differ."""
    uniform: bool
    """Whether all of its groups have it."""
    decoupled: bool
    """Whether it acts apart from the gradient, as in AdamW."""


@dataclass(frozen=True)
class DecayRange:
    """Where decay parts what samples share from what they do not."""

    low: float
    """The λ at which half of the incoherent weights are pulled harder by decay than by the data."""
    high: float
    """The λ at which half of the coherent ones are."""


@dataclass(frozen=True)
class LayerDecay:
    """One layer's decay against its data."""

    name: str
    """Of the layer."""
    coherent: float
    """Share of its weights whose mean gradient is more than chance gives."""
    ratio: float
    """‖λw‖ / ‖μ‖ for L2."""
    lost: float
    """Share of its weights with |λw| > |μ|."""
    l1_ratio: float
    """‖λ sign w‖ / ‖μ‖ for L1."""
    l1_lost: float
    """Share of its weights other than 0 with λ > |μ|."""


@dataclass(frozen=True)
class BackgroundForce:
    """Weight decay against the data's pull; see docs/decay.md."""

    trained: TrainedDecay | Skipped
    """What the network was trained with."""
    l2: DecayRange
    """For an L2 decay that is added to the mean gradient."""
    l1: DecayRange
    """For L1."""
    l2_at: float
    """The λ that the shares below are for: the trained one, or the middle of the range."""
    l1_at: float
    """That of L1: the middle of its range."""
    coherent: float
    """Share of all weights whose mean gradient is more than chance gives."""
    lost_incoherent: float
    """Share of the incoherent weights that L2 decay pulls harder than the data."""
    lost_coherent: float
    """Share of the coherent ones that it pulls harder."""
    layers: tuple[LayerDecay, ...]
    """Those with a gradient, input side first."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class Theory:
    """The further audits; each one that was not run says why."""

    depth: DepthTrend | Skipped
    """Whether depth amplifies what the samples share."""
    width: CoherentWidth | Skipped
    """How much of the width carries what samples share."""
    decay: BackgroundForce | Skipped
    """Weight decay against the data's pull."""
    memory: Memory | Skipped
    """What the optimizer remembers of the gradients over time."""
    trajectory: Trajectory | Skipped
    """What was learned when, and where to stop."""
    stability: Stability | Skipped
    """The stability bound along the training."""
