"""What each further claim of the theory is worth on this model, as data; each ends in what to do about it.

Part of the audit; see `results`. Which of them are run is chosen in `further`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.results.gap import Estimate, Skipped
from cohaudit.results.trajectory import Stability, Trajectory


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
    """What samples share by depth, which is said to amplify it (Chatterjee & Zielinski, arXiv 2203.10036)."""

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
class Survival:
    """How much of the mean gradient survives in an average that few samples cannot pull."""

    average: str
    """Which, in words."""
    kept: Estimate
    """‖average‖ / ‖μ‖."""
    cosine: Estimate
    """Between the average and μ."""


@dataclass(frozen=True)
class LayerSurvival:
    """What survives in one layer."""

    name: str
    """Of the layer."""
    parameters: int
    """Of the layer."""
    coordinates: int
    """Those looked at, drawn evenly; fewer than the layer has make the figures estimates."""
    averages: tuple[Survival, ...]
    """Of each robust average."""


@dataclass(frozen=True)
class StepShare:
    """Whose a step is: Σ over some samples of ⟨g_i, r⟩ / Σ_i ⟨g_i, r⟩, g_i as they go into the average r."""

    average: str
    """Which, in words."""
    memorized: Estimate
    """Share of the samples with a memorization above one half."""
    suspects: Estimate
    """Share of the suspects."""


@dataclass(frozen=True)
class ClippedSample:
    """A sample that stands apart from the rest in many coordinates."""

    id: str
    """Of the sample."""
    clipped: float
    """Share of its gradient's energy in coordinates where it is clipped."""
    memorization: float
    """As in the table of samples."""
    suspect: bool
    """Whether it is one."""


@dataclass(frozen=True)
class RobustStep:
    """What robust averages make of the step (arXiv 2002.10657, 2003.07422); see `clipping`."""

    samples: int
    """N."""
    memorized: int
    """Samples with a memorization above one half."""
    suspects: int
    """Suspects."""
    averages: tuple[Survival, ...]
    """Of all layers together."""
    steps: tuple[StepShare, ...]
    """Of the mean, then of each winsorized mean."""
    layers: tuple[LayerSurvival, ...]
    """Input side first."""
    clipped: tuple[ClippedSample, ...]
    """Those clipped most, first."""
    clipped_memorized: int
    """How many of those clipped most, as many as are memorized, are memorized."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
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
class InputColumn:
    """One column of the input."""

    name: str
    """As in the data; where it has no names, the number, from 0."""
    coherence: float
    """Of its weights' gradients: the mean cosine between those of two samples, weighted by their norms."""
    shuffled: Estimate
    """The same for shuffled labels: the mean, and three standard deviations to either side."""
    score: float
    """Standard deviations that its coherence lies above that mean."""
    most: float
    """Coherence beyond that mean that it may have at most: what was found, if above 0, and three standard
    deviations."""
    samples: float
    """Samples that its gradients come from, effectively: (Σ‖g_i‖)² / Σ‖g_i‖²."""
    verdict: Literal["signal", "noise", "rare"]
    """Above what shuffled labels give and a fiftieth of the strongest column; not so; or not so, but from too
    few samples to tell."""


@dataclass(frozen=True)
class Inputs:
    """Which input columns carry signal, and which carry noise alone (Chatterjee, arXiv 2002.10657)."""

    layer: str
    """The layer that sees the input."""
    total: int
    """Columns of the input."""
    signal: int
    """Columns with signal."""
    noise: int
    """Columns with noise alone."""
    rare: int
    """Columns of too few samples to tell."""
    constant: int
    """Columns that are the same for all samples."""
    columns: tuple[InputColumn, ...]
    """Those that vary, the one with the least coherence that it may have first; at most 300."""
    constants: tuple[str, ...]
    """Names of the constant ones; at most 300."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class AuditResults:
    """The further audits; each one that was not run says why."""

    depth: DepthTrend | Skipped
    """What samples share by depth, which is said to amplify it."""
    width: CoherentWidth | Skipped
    """How much of the width carries what samples share."""
    inputs: Inputs | Skipped
    """Which input columns carry signal, and which carry noise alone."""
    decay: BackgroundForce | Skipped
    """Weight decay against the data's pull."""
    memory: Memory | Skipped
    """What the optimizer remembers of the gradients over time."""
    robust: RobustStep | Skipped
    """What averages that no few samples can pull make of the step."""
    trajectory: Trajectory | Skipped
    """What was learned when, and where to stop."""
    stability: Stability | Skipped
    """The stability bound along the training."""
