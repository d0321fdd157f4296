"""The run certifies itself: what the batched engine measured is held against plain autograd.

Comparisons, per layer. Norms: a few samples again, one at a time, by the engine and through the loss itself.
Sum: the engine's Σ g_i over those samples against the sum of their gradients. Identity: mean_i⟨g_i, μ⟩ = ‖μ‖²
with the engine's dot products. The run's norms: what was recorded for these samples in their batches. Class
sums: those of the whole run against the sketches of all its samples. A failed comparison stops the run.

Where the run was one in bfloat16, the engine is held to the same in float32, and what the run recorded, held
against autograd in float32, shows how far the rounding goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cohaudit.errors import EngineError
from cohaudit.gradients.engine import Engine, sample
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.precision import BF16_ROUNDING, TF32_ROUNDING, TINY
from cohaudit.gradients.residuals import Residuals, logits_of
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.trace import call
from cohaudit.results import Certificate, Check

Array = NDArray[np.float64]

SMALLEST_RESIDUAL = 1e-9
"""Autograd forms p − y by subtraction in float64; below this the loss is replaced by ⟨residual, logits⟩."""

KINK = 0.1
"""Largest relative change of one sample's norm between batches: where the input of a ReLU is zero but for
rounding, it may pass in one batch and not in another."""

BF16_ERROR = 0.05, 0.5
"""Errors of a layer's norm, median and largest of the samples, that rounding to bfloat16 explains: over sixty
networks the median was at most 0.006; the largest, 0.28, is that of a fitted network's first layer, where a
ReLU's input is zero but for rounding."""

RUN_NORMS = "the run's norms, median of the samples", "the run's norms, largest"

ROUNDINGS = 4
"""In 16-bit numbers, errors of so many units in the last place are accepted whatever the tolerance."""

SQUARE_ROOT_OF_TINY = float(np.sqrt(TINY))


class Samples(Protocol):
    """A few loaded samples: inputs on the model's device, labels on the CPU, ids."""

    inputs: Any
    labels: Tensor
    ids: Sequence[str]


def rounding_notice(certificate: Certificate) -> str:
    """Say how far rounding to bfloat16 goes, from what the run's norms were found to be off by."""
    errors = {check.name: check.error for check in certificate.checks}
    median, largest = (f"{errors[name]:.2%}" for name in RUN_NORMS)
    return (
        f"bf16: in the worst layer, gradient norms are off by {median} (median) and {largest} at most, "
        f"against float32 on {certificate.samples} samples"
    )


def certify(
    model: nn.Module,
    plan: Plan,
    samples: Samples,
    recorded: Array,
    layers: Sequence[str],
    sum_errors: Array,
    temperature: float,
    tolerance: float,
    bf16: bool,
) -> Certificate:
    """Compare, and stop the run where a layer is off.

    Args:
        model: In eval mode.
        plan: How the run measured it.
        samples: The samples to compute again, m of them.
        recorded: Their squared norms from the run, [m, layers].
        layers: Layer names.
        sum_errors: Relative error of the run's class sums against its samples' sketches, [layers].
        temperature: Of the run.
        tolerance: Largest relative error accepted.
        bf16: Whether the run was one in bfloat16.

    Raises:
        EngineError: If an error is above the tolerance; names the layer.
    """
    rounding = max(torch.finfo(p.dtype).eps for p in plan.parameters.values())
    tolerance = max(tolerance, ROUNDINGS * rounding)
    run = _Rerun(model, plan, samples, layers, temperature, rounding / tolerance)
    units, together = run.one_by_one()
    bounds = (tolerance, max(KINK, tolerance))
    sums = tolerance
    if bf16:
        bounds = BF16_ERROR
        sums = max(tolerance, ROUNDINGS * TF32_ROUNDING)
    own_errors = run.norm_errors(run.own, units, run.floor)
    recorded_errors = run.norm_errors(recorded, units, BF16_ROUNDING / bounds[0] if bf16 else run.floor)
    checks = (
        ("norms, one sample at a time by autograd", own_errors.max(0), tolerance),
        ("gradient sum, by autograd", run.sum_error(together, units), tolerance),
        ("identity mean⟨g, μ⟩ = ‖μ‖²", run.identity_error(units), tolerance),
        (RUN_NORMS[0], np.median(recorded_errors, 0), bounds[0]),
        (RUN_NORMS[1], recorded_errors.max(0), bounds[1]),
        ("class sums, by the sketches of all samples", sum_errors, sums),
    )
    results = []
    for name, errors, bound in checks:
        worst = int(np.argmax(errors))
        if not errors[worst] <= bound:
            raise EngineError(
                f"layer {layers[worst]}",
                f"certificate failed: {name}: relative error {errors[worst]:.1e} is above {bound:.1e}",
                "please report this model as a bug; nothing measured on it should be trusted",
            )
        results.append(Check(name, layers[worst], float(errors[worst]), bound))
    return Certificate(len(samples.labels), tuple(results), plan.coverage)


class _Rerun:
    """The certificate's samples through plain autograd and, again, through the engine.

    Gradients of fitted samples are tiny: each one is divided by its residual's norm, and sums by the
    largest of these, so that float32 can hold them.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        samples: Samples,
        layers: Sequence[str],
        temperature: float,
        floor: float,
    ) -> None:
        self.floor = floor
        self.model = model
        self.plan = plan
        self.samples = samples
        self.temperature = temperature
        self.layer_index = {name: layers.index(owner) for name, owner in plan.layer_of.items()}
        self.layers = len(layers)
        self._forms: list[dict[str, PerSample]] = []
        self._directions: list[Tensor] = []
        engine = Engine(model, plan)
        scales = []
        self.own = np.zeros((len(samples.labels), self.layers))

        def keep(name: str, form: PerSample, outcome: Residuals) -> None:
            self._forms[-1][name] = form
            cheapest = form if form.sparse else form.dense()
            squares = cheapest.squared_norms().double().item()
            self.own[len(self._forms) - 1, self.layer_index[name]] += squares

        for i in range(len(samples.labels)):
            self._forms.append({})
            one = sample(samples.inputs, i), samples.labels[i : i + 1]
            outcome = engine.run(*one, temperature, keep).residuals
            self._directions.append(outcome.direction)
            scales.append(outcome.scale.item())
        self.scale = np.maximum(scales, TINY)
        self.peak = float(self.scale.max())
        self.own *= np.square(self.scale)[:, None]
        self.sums = {name: torch.zeros_like(p) for name, p in plan.parameters.items()}
        for forms, scale in zip(self._forms, self.scale, strict=True):
            for name, form in forms.items():
                self.sums[name] += form.weighted_sum(self.sums[name].new_tensor([scale / self.peak]))

    def one_by_one(self) -> tuple[Array, dict[str, Tensor]]:
        """Return ‖g_i‖² / scale_i² per layer, [m, layers], and Σ g_i / peak, by autograd alone."""
        units = []
        total = {name: torch.zeros_like(p) for name, p in self.plan.parameters.items()}
        for i in range(len(self.scale)):
            gradient = self._plain(i)
            units.append(self.squares(gradient))
            for name, tensor in gradient.items():
                total[name].add_(tensor, alpha=float(self.scale[i] / self.peak))
        return np.stack(units), total

    def _plain(self, i: int) -> dict[str, Tensor]:
        """Return the gradient of loss_i / scale_i, in a batch of its own."""
        with torch.enable_grad():
            logits = logits_of(call(self.model, sample(self.samples.inputs, i)))
            loss = self._loss(logits.cpu().double(), i) / self.scale[i]
            wanted = dict(self.plan.parameters)
            grads = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(wanted.items(), grads, strict=True)
        }

    def _loss(self, logits: Tensor, i: int) -> Tensor:
        if self.scale[i] < SMALLEST_RESIDUAL:
            direction = self._directions[i].cpu().double()
            return (logits * direction).sum() * float(self.scale[i])
        wide = logits.reshape(1, -1)
        if wide.shape[1] == 1:
            wide = torch.cat([torch.zeros_like(wide), wide], 1)
        return F.cross_entropy(wide / self.temperature, self.samples.labels[i : i + 1])

    def squares(self, gradient: Mapping[str, Tensor]) -> Array:
        """Return a gradient's squared norm per layer, [layers]."""
        totals = np.zeros(self.layers)
        for name, tensor in gradient.items():
            totals[self.layer_index[name]] += torch.dot(flat := tensor.flatten(), flat).item()
        return totals

    def norm_errors(self, squares: Array, units: Array, floor: float) -> Array:
        """Return the relative errors of norms whose squares are given, [m, layers]."""
        measured = np.sqrt(squares) / self.scale[:, None]
        truth = np.sqrt(units)
        size = np.maximum(np.maximum(measured, truth), self._least(units, floor))
        error: Array = np.abs(measured - truth) / np.maximum(size, TINY)
        # the square of such a gradient is zero even in float64: nothing was recorded to compare
        error[self.scale < SQUARE_ROOT_OF_TINY] = 0
        return error

    def _least(self, units: Array, floor: float) -> Array:
        """Return the norm below which a layer's gradient is the rounding of the others', [m, 1]."""
        return np.asarray(floor * np.sqrt(units.sum(1, keepdims=True)))

    def sum_error(self, expected: Mapping[str, Tensor], units: Array) -> Array:
        """Return ‖Σ_engine − Σ_autograd‖ / Σ‖g_i‖ per layer."""
        difference = {name: self.sums[name] - tensor for name, tensor in expected.items()}
        sizes = np.maximum(np.sqrt(units), self._least(units, self.floor))
        lengths = (sizes * (self.scale / self.peak)[:, None]).sum(0)
        return np.asarray(np.sqrt(self.squares(difference)) / np.maximum(lengths, TINY))

    def identity_error(self, units: Array) -> Array:
        """Return |mean_i⟨g_i, μ⟩ − ‖μ‖²| / (‖μ‖ · rms‖g_i‖) per layer; all but the rms from the engine."""
        count = len(self.scale)
        relative = self.scale / self.peak
        dots = np.zeros(self.layers)
        for forms, share in zip(self._forms, relative, strict=True):
            for name, form in forms.items():
                dots[self.layer_index[name]] += form.dot(self.sums[name]).double().item() * share / count**2
        squares = self.squares({name: tensor / count for name, tensor in self.sums.items()})
        sizes = np.maximum(units, self._least(units, self.floor) ** 2) * np.square(relative)[:, None]
        size = np.sqrt(squares * sizes.mean(0))
        return np.asarray(np.abs(dots - squares) / np.maximum(size, TINY))
