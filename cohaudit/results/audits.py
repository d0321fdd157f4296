"""The results of the optional audits, as data; each ends in advice.

`cohaudit.audits.registry` says which of them run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.ranges import Proportion, Range
from cohaudit.results.trajectory import Stability, Trajectory


@dataclass(frozen=True)
class LayerRatio:
    """Coherent against incoherent gradient of one layer."""

    name: str
    """Layer name."""
    ratio: Estimate
    """‖μ‖² / mean‖g_i − μ‖² = α / (1 − α), 0 or more: energy that all samples share, divided by the rest."""
    amplification: float
    """Ratio of this layer divided by that of the layer before; 1 for the first layer."""


@dataclass(frozen=True)
class DepthTrend:
    """The coherent share of the gradient by depth (Chatterjee & Zielinski, arXiv 2203.10036)."""

    layers: tuple[LayerRatio, ...]
    """Layers with a gradient, input side first."""
    orthogonal: float
    """Ratio of samples with orthogonal gradients, 1 / (m − 1)."""
    slope: Estimate | Skipped
    """Rise of the ratio from the first to the last layer, in powers of ten, by least squares, with a 90%
    interval by Student's t; skipped below four layers."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class LayerSteadiness:
    """How steady the gradients of one layer were over time, from the state of the optimizer."""

    name: str
    """Layer name."""
    coherence: float
    """Coherence of the gradients of the last steps, in [0, 1]: about 0 for noise, 1 for a constant
    gradient."""
    steps: int
    """Number of optimizer steps."""


@dataclass(frozen=True)
class Memory:
    """What the optimizer's state in the checkpoint says about the gradients over time."""

    optimizer: str
    """The moments that the optimizer stores, in words."""
    coherence: float
    """Coherence over time of all parameters together, in [0, 1]."""
    layers: tuple[LayerSteadiness, ...]
    """Layers in the order of the checkpoint."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class Survival:
    """How much of the mean gradient remains in an average that a few samples cannot dominate."""

    average: str
    """Name of the robust average."""
    kept: Estimate
    """‖average‖ / ‖μ‖, 0 or more."""
    cosine: Estimate
    """Cosine between the average and μ, in [-1, 1]."""


@dataclass(frozen=True)
class LayerSurvival:
    """How much of one layer's mean gradient remains in robust averages."""

    name: str
    """Layer name."""
    parameters: int
    """Number of parameters of the layer."""
    coordinates: int
    """Number of coordinates measured, drawn evenly; the results are estimates when the layer has more."""
    averages: tuple[Survival, ...]
    """One result per robust average."""


@dataclass(frozen=True)
class StepShare:
    """What share of the update comes from some of the samples: Σ over them of ⟨g_i, r⟩ / Σ_i ⟨g_i, r⟩.

    g_i is a sample's gradient as it enters the average r.
    """

    average: str
    """Name of the average."""
    memorized: Estimate
    """Share of the samples with a memorization of at least one half; can be negative."""
    suspects: Estimate
    """Share of the suspects; can be negative."""


@dataclass(frozen=True)
class ClippedSample:
    """A sample whose gradient differs from those of the other samples in many coordinates."""

    id: str
    """Sample id."""
    clipped: float
    """Share of its gradient's energy in coordinates where it is clipped, in [0, 1]."""
    memorization: float
    """Memorization as in the table of samples, in [0, 1]."""
    suspect: bool
    """Whether the sample is a suspect."""


@dataclass(frozen=True)
class RobustStep:
    """How robust averages change the update (arXiv 2002.10657, 2003.07422)."""

    samples: int
    """Number of samples."""
    memorized: int
    """Number of samples with a memorization of at least one half."""
    suspects: int
    """Number of suspects."""
    averages: tuple[Survival, ...]
    """One result per robust average, for all layers together."""
    steps: tuple[StepShare, ...]
    """Shares of the update of the mean, then of each winsorized mean."""
    layers: tuple[LayerSurvival, ...]
    """Results by layer, input side first."""
    clipped: tuple[ClippedSample, ...]
    """The samples that are clipped most, most clipped first."""
    clipped_memorized: int
    """Number of memorized samples among the `memorized` samples that are clipped most."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class LayerUnits:
    """How the coherent gradient of one hidden layer is spread over its units."""

    name: str
    """Layer name."""
    kind: str
    """What the units are: units, channels, or heads."""
    coherence: tuple[float, ...]
    """Pairwise coherence α_u of each unit's gradients over all samples, in [-1, 1]."""
    energy: tuple[float, ...]
    """Each unit's share of what samples of one class have in common, in [0, 1]; 0 for a unit whose samples
    disagree."""
    participation: float
    """(Σe)² / (units · Σe²): 1 when all units hold the same energy, 1 / units when one unit holds all of
    it."""
    kept: tuple[int, ...]
    """Numbers of the fewest units that hold 90% of the energy, from 0, in ascending order."""


@dataclass(frozen=True)
class SubNetwork:
    """The accuracy of a network with its most coherent units alone."""

    share: float
    """Share of each hidden layer's coherent energy that the units hold, in [0, 1]."""
    units: int
    """Number of units of all hidden layers together."""
    accuracy: float
    """Accuracy on the training labels with the outputs of all other units set to zero, in [0, 1]."""
    random: float
    """The same with as many units of each layer drawn at random, in [0, 1]: mean of a few draws."""


@dataclass(frozen=True)
class CoherentWidth:
    """How much of the width carries what samples share; see docs/width.md."""

    layers: tuple[LayerUnits, ...]
    """Hidden layers that have units, input side first."""
    units: int
    """Number of units of these layers."""
    accuracy: float
    """Accuracy of the whole network on the training labels, in [0, 1]."""
    sub_networks: tuple[SubNetwork, ...]
    """Parts of the network, the smaller share first."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class TrainedDecay:
    """The weight decay that a network was trained with."""

    value: float
    """λ of the optimizer; the largest one when its parameter groups differ."""
    uniform: bool
    """Whether all parameter groups have this value."""
    decoupled: bool
    """Whether the decay is applied apart from the gradient, as in AdamW."""


@dataclass(frozen=True)
class DecayRange:
    """The range of λ that separates coherent from incoherent weights."""

    low: float
    """λ at which the decay exceeds the mean gradient for half of the incoherent weights."""
    high: float
    """λ at which the decay exceeds the mean gradient for half of the coherent weights."""


@dataclass(frozen=True)
class LayerDecay:
    """Weight decay of one layer, compared with the mean gradient."""

    name: str
    """Layer name."""
    coherent: float
    """Share of the weights whose mean gradient is larger than chance explains, in [0, 1]."""
    ratio: float
    """‖λw‖ / ‖μ‖ for L2."""
    lost: float
    """Share of the weights with |λw| > |μ|, in [0, 1]."""
    l1_ratio: float
    """‖λ sign w‖ / ‖μ‖ for L1."""
    l1_lost: float
    """Share of the weights other than 0 with λ > |μ|, in [0, 1]."""


@dataclass(frozen=True)
class BackgroundForce:
    """Weight decay compared with the mean gradient; see docs/decay.md."""

    trained: TrainedDecay | Skipped
    """Weight decay of the training run."""
    l2: DecayRange
    """Range for an L2 decay that is added to the mean gradient."""
    l1: DecayRange
    """Range for L1."""
    l2_at: float
    """λ for which the shares below are computed: that of the training run, or the middle of the range."""
    l1_at: float
    """λ of L1 for which the shares are computed: the middle of its range."""
    coherent: float
    """Share of all weights whose mean gradient is larger than chance explains, in [0, 1]."""
    lost_incoherent: float
    """Share of the incoherent weights for which L2 decay exceeds the mean gradient, in [0, 1]."""
    lost_coherent: float
    """Share of the coherent weights for which L2 decay exceeds the mean gradient, in [0, 1]."""
    layers: tuple[LayerDecay, ...]
    """Layers with a gradient, input side first."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class InputColumn:
    """One column of the input."""

    name: str
    """Name in the data; the number, from 0, when columns have no names."""
    coherence: float
    """Coherence of the gradients of its weights, in [-1, 1]: mean cosine of two samples, weighted by their
    norms."""
    shuffled: Estimate
    """The same for shuffled labels: the mean, and the coherences at scores of −3 and 3."""
    score: float
    """Normal deviation that is as rare for a column of noise as this coherence: one in 740 exceeds 3."""
    most: float
    """Largest plausible coherence above that mean: the measured one, if above 0, and that of a score of 3."""
    samples: float
    """Effective number of samples that its gradients come from: (Σ‖g_i‖)² / Σ‖g_i‖²."""
    verdict: Literal["signal", "noise", "rare"]
    """Signal: coherence above that of shuffled labels and above 2% of the strongest column's. Noise: not so.
    Rare: not so, but from too few samples to decide."""


@dataclass(frozen=True)
class Inputs:
    """Which input columns carry signal, and which carry only noise (Chatterjee, arXiv 2002.10657)."""

    layer: str
    """Name of the layer that receives the input."""
    total: int
    """Number of input columns."""
    signal: int
    """Number of columns with signal."""
    noise: int
    """Number of columns with noise only."""
    rare: int
    """Number of columns with too few samples to decide."""
    constant: int
    """Number of columns that are the same for all samples."""
    columns: tuple[InputColumn, ...]
    """Columns that vary, the smallest plausible coherence first; at most 300."""
    constants: tuple[str, ...]
    """Names of the columns that are constant; at most 300."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class NoiseSize:
    """How many answers stay under noise of one size."""

    size: float
    """Standard deviation of the noise, in root mean squares of each weight tensor."""
    unchanged: Proportion
    """Share of the answers that stay, in [0, 1], the mean of all draws."""


@dataclass(frozen=True)
class Flatness:
    """How many of the network's answers on its training data stay when noise is added to its weights."""

    samples: Annotated[int, Range(1)]
    """Number of samples answered, evenly spaced."""
    draws: Annotated[int, Range(2)]
    """Draws of the noise at each size."""
    sizes: tuple[NoiseSize, ...]
    """Results by the size of the noise, ascending."""
    unchanged: Estimate
    """Mean share of answers that stay over all sizes, in [0, 1]; the 90% interval covers the draws."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class AuditResults:
    """The optional audits; one that did not run is skipped, with the reason."""

    depth: DepthTrend | Skipped
    """How the coherent share of the gradient changes with depth."""
    width: CoherentWidth | Skipped
    """How much of the width carries what samples share."""
    inputs: Inputs | Skipped
    """Which input columns carry signal, and which carry only noise."""
    decay: BackgroundForce | Skipped
    """Weight decay compared with the mean gradient."""
    memory: Memory | Skipped
    """What the optimizer's state says about the gradients over time."""
    robust: RobustStep | Skipped
    """How averages that a few samples cannot dominate change the update."""
    trajectory: Trajectory | Skipped
    """What the network learned when, and where it should have stopped."""
    stability: Stability | Skipped
    """The stability bound along the training run."""
    flatness: Flatness | Skipped
    """How many answers stay when noise is added to the weights."""
