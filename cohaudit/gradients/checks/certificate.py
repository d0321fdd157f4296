"""The run certifies itself: what the batched engine measured is compared with plain autograd.

Comparisons, per layer:

- Norms: a few samples again, one at a time, by the engine and through the loss itself.
- Sum: the engine's Σ g_i over those samples against the sum of their gradients by autograd.
- Identity: mean_i⟨g_i, μ⟩ = ‖μ‖², with the engine's dot products.
- The run's norms: what was recorded for these samples in their batches.
- Class sums: those of the whole run against the sketches of all its samples.

A failed comparison stops the run. In a run in bfloat16 the engine is compared with autograd in float32 all
the same; what the run recorded, compared with the same, shows how large the rounding is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.probe import Probe
from cohaudit.gradients.checks.rerun import (
    AutogradRerun,
    EngineRerun,
    ParameterLayers,
    rerun_autograd,
    rerun_engine,
)
from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.precision import (
    BF16_ROUNDING,
    SMALLEST_FLOAT64,
    SQUARE_ROOT_OF_SMALLEST_FLOAT64,
    TF32_ROUNDING,
)
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.results import Certificate, Check
from cohaudit.results.wording import compact, number

Array = NDArray[np.float64]

KINK_ERROR = 0.1
"""Largest relative change of one sample's norm between batches. Where the input of a ReLU is zero but for
rounding, it may pass in one batch and not in another."""

BF16_MEDIAN_ERROR = 0.05
"""Largest median error of a layer's norms that rounding to bfloat16 explains. Over sixty networks the median
was at most 0.006."""

BF16_LARGEST_ERROR = 0.5
"""Largest error of one norm that rounding to bfloat16 explains. Over sixty networks it was at most 0.28: the
first layer of a fitted network, where the input of a ReLU is zero but for rounding."""

MIN_BF16_SAMPLES = 8
"""Samples that are measured again in a run in bfloat16, at least, if there are as many. Rounding is judged by
the median error, and the median of one sample is whatever that sample's error is."""

MEDIAN_NORM_CHECK = "the run's norms, median of the samples"
"""Name of the check of the recorded norms' median error."""

LARGEST_NORM_CHECK = "the run's norms, largest"
"""Name of the check of the recorded norms' largest error."""

ACCEPTED_ROUNDINGS = 4
"""Errors of this many units in the last place are accepted whatever the tolerance: in 16-bit numbers one unit
is larger than the tolerance."""


BUG = "please report this model as a bug; nothing measured on it should be trusted"
"""What to do where the engine is off."""

TOO_ROUGH = "bfloat16 is too rough for this network: measure without --bf16"
"""What to do where a run in bfloat16 is off: gradients of a network that fits its labels nearly cancel."""


@dataclass(frozen=True)
class Recorded:
    """What the run recorded and the certificate compares.

    Attributes:
        layers: Layer names.
        squared_norms: Squared norms of the m samples that are measured again, [m, layers].
        sum_errors: Relative error of the class sums against the sketches of all samples, [layers].
    """

    layers: Sequence[str]
    squared_norms: Array
    sum_errors: Array


def samples_again(setup: PassSetup) -> int:
    """Return how many samples are measured again, if there are as many."""
    asked = setup.options.certificate_samples
    return max(asked, MIN_BF16_SAMPLES) if setup.options.bf16 else asked


def rounding_notice(certificate: Certificate) -> str:
    """Return a sentence on how far rounding to bfloat16 moved the run's norms."""
    errors = {check.name: check.error for check in certificate.checks}
    return (
        f"bf16: in the worst layer, gradient norms are off by {number(100 * errors[MEDIAN_NORM_CHECK])}% "
        f"(median) and {number(100 * errors[LARGEST_NORM_CHECK])}% at most, against float32 on "
        f"{certificate.samples} samples"
    )


def certify(setup: PassSetup, plan: Plan, samples: Probe, recorded: Recorded) -> Certificate:
    """Compare, and stop the run where a layer is off.

    Args:
        setup: Setup of the run.
        plan: How the run measured the model.
        samples: The m samples to compute again.
        recorded: What the run recorded.

    Raises:
        EngineError: If an error is above its bound; names the layer.
    """
    bounds = _bounds(setup, plan)
    layers = ParameterLayers(
        recorded.layers, {name: recorded.layers.index(owner) for name, owner in plan.layer_of.items()}
    )
    engine = rerun_engine(setup, plan, samples, layers)
    autograd = rerun_autograd(setup, plan, samples, layers, engine)
    compared = _Comparison(layers, engine, autograd, bounds.floor)
    # what is measured again first: an error of the engine shows in everything that follows
    own = compared.norm_errors(engine.squared_norms, bounds.floor)
    run = compared.norm_errors(recorded.squared_norms, bounds.recorded_floor)
    checks = (
        ("norms, one sample at a time by autograd", own.max(0), bounds.engine),
        ("gradient sum, by autograd", compared.sum_errors(), bounds.engine),
        ("identity mean⟨g, μ⟩ = ‖μ‖²", compared.identity_errors(), bounds.engine),
        (MEDIAN_NORM_CHECK, np.median(run, 0), bounds.median_norm),
        (LARGEST_NORM_CHECK, run.max(0), bounds.largest_norm),
        ("class sums, by the sketches of all samples", recorded.sum_errors, bounds.class_sums),
    )
    # what the run recorded was rounded to bfloat16 then, which is no bug; the engine ran again in float32
    rounded = (MEDIAN_NORM_CHECK, LARGEST_NORM_CHECK) if setup.options.bf16 else ()
    results = tuple(
        worst_check(name, errors, bound, recorded.layers, TOO_ROUGH if name in rounded else BUG)
        for name, errors, bound in checks
    )
    return Certificate(len(samples.labels), results, plan.coverage)


def worst_check(name: str, errors: Array, bound: float, layers: Sequence[str], remedy: str) -> Check:
    """Return a check with its largest error and that error's layer.

    Args:
        name: What is compared.
        errors: Relative error of each layer, [layers].
        bound: Largest error accepted.
        layers: Layer names.
        remedy: What to do if an error is too large.

    Raises:
        EngineError: If it is above the bound, or not a number.
    """
    # argmax finds a NaN before any number
    worst = int(np.argmax(errors))
    if not errors[worst] <= bound:  # written so that NaN fails
        raise EngineError(
            f"layer {layers[worst]}",
            f"certificate failed: {name}: relative error {number(float(errors[worst]))} is above "
            f"{compact(bound)}",
            remedy,
        )
    return Check(name, layers[worst], float(errors[worst]), bound)


@dataclass(frozen=True)
class _Bounds:
    """Largest relative errors accepted, and the floors below which a gradient is rounding.

    Attributes:
        engine: Bound of what the engine measures again, in the model's own precision.
        median_norm: Bound of the recorded norms' median error.
        largest_norm: Bound of the recorded norms' largest error.
        class_sums: Bound of the class sums' error.
        floor: Share of a sample's norm below which a layer's gradient is the rounding of the others'.
        recorded_floor: The same for the recorded norms.
    """

    engine: float
    median_norm: float
    largest_norm: float
    class_sums: float
    floor: float
    recorded_floor: float


def _bounds(setup: PassSetup, plan: Plan) -> _Bounds:
    rounding = max(torch.finfo(p.dtype).eps for p in plan.parameters.values())
    tolerance = max(setup.options.certificate_tolerance, ACCEPTED_ROUNDINGS * rounding)
    # at this share of a sample's norm, rounding alone is an error as large as the tolerance
    floor = rounding / tolerance
    if setup.options.bf16:
        return _Bounds(
            engine=tolerance,
            median_norm=BF16_MEDIAN_ERROR,
            largest_norm=BF16_LARGEST_ERROR,
            # the sums themselves are float32, but a GPU may multiply in TensorFloat-32 then
            class_sums=max(tolerance, ACCEPTED_ROUNDINGS * TF32_ROUNDING),
            floor=floor,
            recorded_floor=BF16_ROUNDING / BF16_MEDIAN_ERROR,
        )
    return _Bounds(
        engine=tolerance,
        median_norm=tolerance,
        largest_norm=max(KINK_ERROR, tolerance),
        class_sums=tolerance,
        floor=floor,
        recorded_floor=floor,
    )


@dataclass(frozen=True)
class _Comparison:
    """Relative errors of the engine against plain autograd, per layer."""

    layers: ParameterLayers
    engine: EngineRerun
    autograd: AutogradRerun
    floor: float

    def norm_errors(self, squares: Array, floor: float) -> Array:
        """Return the relative errors of norms whose squares are given, [m, layers]."""
        scale = self.engine.scale
        measured = np.sqrt(squares) / scale[:, None]
        truth = np.sqrt(self.autograd.unit_squares)
        size = np.maximum(np.maximum(measured, truth), self._smallest_norms(floor))
        errors: Array = np.abs(measured - truth) / np.maximum(size, SMALLEST_FLOAT64)
        # the square of such a gradient is zero even in float64: nothing was recorded to compare
        errors[scale < SQUARE_ROOT_OF_SMALLEST_FLOAT64] = 0
        return errors

    def _smallest_norms(self, floor: float) -> Array:
        """Return the norm below which a layer's gradient is the rounding of the others', [m, 1].

        A bias before a normalization has a gradient of exactly zero; what is measured of it is rounding,
        whose relative error would be meaningless.
        """
        return np.asarray(floor * np.sqrt(self.autograd.unit_squares.sum(1, keepdims=True)))

    def sum_errors(self) -> Array:
        """Return ‖Σ_engine − Σ_autograd‖ / Σ‖g_i‖ per layer."""
        engine = self.engine
        difference = {name: engine.sums[name] - tensor for name, tensor in self.autograd.sums.items()}
        sizes = np.maximum(np.sqrt(self.autograd.unit_squares), self._smallest_norms(self.floor))
        # relative to the norms that were added, not to the sum, which may cancel to almost zero
        lengths = (sizes * (engine.scale / engine.peak)[:, None]).sum(0)
        return np.asarray(np.sqrt(self.layers.squares(difference)) / np.maximum(lengths, SMALLEST_FLOAT64))

    def identity_errors(self) -> Array:
        """Return |mean_i⟨g_i, μ⟩ − ‖μ‖²| / (‖μ‖ · rms‖g_i‖) per layer; all but the rms from the engine."""
        engine = self.engine
        count = len(engine.scale)
        relative = engine.scale / engine.peak
        dots = np.zeros(len(self.layers.names))
        for forms, share in zip(engine.forms, relative, strict=True):
            for name, form in forms.items():
                product = form.dot(engine.sums[name]).double().item()
                dots[self.layers.index[name]] += product * share / count**2
        squares = self.layers.squares(_divided(engine.sums, count))
        smallest = self._smallest_norms(self.floor) ** 2
        sizes = np.maximum(self.autograd.unit_squares, smallest) * np.square(relative)[:, None]
        size = np.sqrt(squares * sizes.mean(0))
        return np.asarray(np.abs(dots - squares) / np.maximum(size, SMALLEST_FLOAT64))


def _divided(gradient: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: tensor / count for name, tensor in gradient.items()}
