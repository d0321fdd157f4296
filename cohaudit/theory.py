"""What each further claim of the theory is worth on this model, as data; each ends in what to do about it.

Part of the audit; see `results`. Which of them are run is chosen in `further`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
class Theory:
    """The further audits; each one that was not run says why."""

    depth: DepthTrend | Skipped
    """Whether depth amplifies what the samples share."""
    memory: Memory | Skipped
    """What the optimizer remembers of the gradients over time."""
    inputs: Inputs | Skipped
    """Which input columns carry signal, and which carry noise alone."""
