"""What was checked, as data: the sanity of the model, the numbers themselves, and the user's gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.results.ranges import Count, NonNegative, Proportion


@dataclass(frozen=True)
class Sanity:
    """Whether the model and the data belong together at all."""

    auditable: bool
    """False when the model does not predict its own training labels better than chance."""
    accuracy: Proportion
    """Share of the training samples that the model predicts as labeled, in [0, 1]."""
    balanced_accuracy: Proportion
    """Mean of the classes' accuracies, in [0, 1]."""
    chance: Proportion
    """1 / number of classes."""
    mean_loss: NonNegative
    """Mean training loss, in nats."""
    reason: str
    """The result in words; what to check when the model is not auditable."""


@dataclass(frozen=True)
class Check:
    """One comparison of the measured gradients with an independent computation."""

    name: str
    """What was compared."""
    layer: str
    """Name of the layer with the largest error."""
    error: NonNegative
    """Largest relative error."""
    tolerance: NonNegative
    """Relative error above which the run would have stopped."""


@dataclass(frozen=True)
class Certificate:
    """How the run checked its own numbers."""

    samples: Count
    """Number of samples that were computed again, one at a time, with plain autograd."""
    checks: tuple[Check, ...]
    """The comparisons; all are within tolerance, or the run would have stopped."""
    parameter_coverage: Proportion
    """Share of the model's trainable parameters whose gradients were measured, in [0, 1]."""


@dataclass(frozen=True)
class GateResult:
    """The result of one `--fail-on` or `--warn-on` condition."""

    expression: str
    """The condition as the user wrote it."""
    measured: str
    """The value that was compared, unrounded."""
    failed: bool
    """True when the condition holds, when its value was not measured, or when the model is not auditable."""
    reason: str
    """The result in words."""
    warned: bool = False
    """True for a gate that does not fail although its condition holds: on the value but not on the whole
    interval, or for `--warn-on`."""

    @property
    def outcome(self) -> Literal["failed", "warned", "passed"]:
        """The result in one word."""
        return "failed" if self.failed else "warned" if self.warned else "passed"
