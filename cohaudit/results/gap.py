"""The verdict as data: the gap to be expected on new data, what it comes from, and what was not measured.

Part of the audit; see `results`, which names everything here as its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["low", "moderate", "high", "severe"]
"""Risk levels, in rising order."""
NO_VERDICT = "the model is not auditable, see the sanity check"
"""Why a figure that needs a trained model is skipped."""
LEVELS: tuple[Level, ...] = ("low", "moderate", "high", "severe")


@dataclass(frozen=True)
class Skipped:
    """A measurement that was not made."""

    name: str
    """What was skipped: a layer, a parameter, a section of the audit."""
    reason: str
    """Why, in words a user can act on."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval."""

    value: float
    """The point estimate."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def format_points(gap: Estimate) -> str:
    """Write a difference of accuracies in points, with its interval."""
    return f"{100 * gap.value:.1f} points ({100 * gap.low:.1f} to {100 * gap.high:.1f})"


@dataclass(frozen=True)
class RiskTerm:
    """One part of the predicted gap; the parts add up to it."""

    name: str
    """Short name."""
    measured: float
    """The measurement behind it, in its own unit."""
    adds: float
    """What it adds to the gap, as a share of all samples; below 0 when it takes away."""
    reason: str
    """One sentence in plain words, with the number in it."""


@dataclass(frozen=True)
class Driver:
    """Something that the gap comes from, and what would lower it."""

    kind: Literal["samples", "layer", "class", "training"]
    """Where it lies."""
    name: str
    """Of the layer or class; else the kind."""
    measured: float
    """The measurement behind it, as a share."""
    reason: str
    """One sentence in plain words, with the number in it."""
    remedy: str
    """What would lower it."""
    lowers: float | Skipped
    """How much of the gap it is, as a share of all samples: what its end would lower the gap by, at most."""


@dataclass(frozen=True)
class Holdout:
    """The model on samples that it was not trained on."""

    data: str
    """Path or factory as given."""
    data_fingerprint: str
    """Hash of the dataset; equal for equal data."""
    samples: int
    """Samples measured."""
    repeated: int
    """Samples among them whose input is also in the training data; they are left out of the measurements."""
    accuracy: float
    """Share of them that the model predicts as labeled."""
    gap: Estimate
    """Training accuracy less that; the interval is that of the samples drawn."""
    cosine: float
    """Of the mean gradients of training and holdout samples, by sketches."""
    within: float
    """α_u of the training samples: what one sample's step does for another one's loss, as a cosine."""
    across: float
    """The same from training to holdout samples, ⟨μ, μ'⟩ / √(mean‖g‖² · mean‖g'‖²), by sketches."""


@dataclass(frozen=True)
class Risk:
    """How much worse the model does on new data: the gap between its accuracies there and in training."""

    gap: Estimate
    """Training accuracy less accuracy on new data with right labels, in [-1, 1]; by the holdout where one was
    given, and by the training data."""
    predicted: Estimate
    """The same from the training data alone."""
    coverage: float
    """Share of networks whose gap lies within such an interval."""
    level: Level
    """The gap put into words; see `Config.risk_levels`."""
    terms: tuple[RiskTerm, ...]
    """What `predicted` is made of; they add up to it."""
    drivers: tuple[Driver, ...]
    """What it comes from, the largest part of it first, then what is no known part."""
    holdout: Holdout | Skipped
    """Samples that the model was not trained on, where some were given."""


def risk_level(gap: float, levels: Sequence[float]) -> Level:
    """Return the level of a gap, given the gaps from which moderate, high and severe begin."""
    return LEVELS[sum(gap >= bound for bound in levels)]
