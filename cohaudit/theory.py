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
class Theory:
    """The further audits; each one that was not run says why."""

    depth: DepthTrend | Skipped
    """Whether depth amplifies what the samples share."""
    memory: Memory | Skipped
    """What the optimizer remembers of the gradients over time."""
    robust: RobustStep | Skipped
    """What averages that no few samples can pull make of the step."""
