"""The run certifies itself: what the batched engine measured is held against plain autograd.

Three comparisons per layer. Norms: a few samples again, one at a time, through the loss itself. Sum: the
engine's Σ g_i over those samples against the gradient of their summed loss. Identity:
mean_i⟨g_i, μ⟩ = ‖μ‖² with the engine's dot products. A failed comparison stops the run.
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
from cohaudit.gradients.per_sample import PerSample
from cohaudit.gradients.plan import Plan, call
from cohaudit.gradients.residuals import logits_of
from cohaudit.results import Certificate, Check

Array = NDArray[np.float64]

SMALLEST_RESIDUAL = 1e-9
"""Autograd forms p − y by subtraction in float64; below this the loss is replaced by ⟨residual, logits⟩."""

SQUARE_ROOT_OF_TINY = float(np.sqrt(np.finfo(float).tiny))


class Samples(Protocol):
    """A few loaded samples: inputs on the model's device, labels on the CPU, ids."""

    inputs: Any
    labels: Tensor
    ids: Sequence[str]


def certify(
    model: nn.Module,
    plan: Plan,
    samples: Samples,
    recorded: Array,
    layers: Sequence[str],
    temperature: float,
    tolerance: float,
) -> Certificate:
    """Compare, and stop the run where a layer is off.

    Args:
        model: In eval mode.
        plan: How the run measured it.
        samples: The samples to compute again, m of them.
        recorded: Their squared norms from the run, [m, layers].
        layers: Layer names.
        temperature: Of the run.
        tolerance: Largest relative error accepted.

    Raises:
        EngineError: If an error is above the tolerance; names the layer.
    """
    run = _Rerun(model, plan, samples, layers, temperature)
    everyone = range(len(samples.labels))
    units = np.stack([run.squares(run.plain([i], run.scale[i])) for i in everyone])
    together = run.plain(everyone, run.peak)
    checks = (
        ("per-sample norms, one sample at a time by autograd", run.norm_error(recorded, units)),
        ("gradient sum, by autograd on the summed loss", run.sum_error(together, units)),
        ("identity mean⟨g, μ⟩ = ‖μ‖²", run.identity_error(units)),
    )
    results = []
    for name, errors in checks:
        worst = int(np.argmax(errors))
        if not errors[worst] <= tolerance:
            raise EngineError(
                f"layer {layers[worst]}",
                f"certificate failed: {name}: relative error {errors[worst]:.1e} is above {tolerance:.1e}",
                "please report this model as a bug; nothing measured on it should be trusted",
            )
        results.append(Check(name, layers[worst], float(errors[worst]), tolerance))
    return Certificate(len(samples.labels), tuple(results), plan.coverage)


class _Rerun:
    """The certificate's samples through plain autograd and, again, through the engine.

    Gradients of fitted samples are tiny: each one is divided by its residual's norm, and sums by the
    largest of these, so that float32 can hold them.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, samples: Samples, layers: Sequence[str], temperature: float
    ) -> None:
        self.model, self.plan, self.samples, self.temperature = model, plan, samples, temperature
        self.layer_index = {name: layers.index(owner) for name, owner in plan.layer_of.items()}
        self.layers = len(layers)
        self._forms: dict[str, PerSample] = {}
        outcome, _ = Engine(model, plan).run(
            samples.inputs, samples.labels, temperature, self._forms.__setitem__
        )
        self._direction = outcome.direction
        self.scale = np.maximum(outcome.scale.numpy(), np.finfo(float).tiny)
        self.peak = float(self.scale.max())
        self.sums = {name: torch.zeros_like(p) for name, p in plan.parameters.items()}
        weights = torch.from_numpy(self.scale / self.peak)
        for name, form in self._forms.items():
            self.sums[name] = form.weighted_sum(weights.to(self.sums[name]))

    def plain(self, indices: Sequence[int], divisor: float) -> dict[str, Tensor]:
        """Return the gradient of Σ loss_i / divisor, each sample in a batch of its own, by autograd alone."""
        total = torch.zeros((), dtype=torch.float64)
        with torch.enable_grad():
            for i in indices:
                logits = logits_of(call(self.model, sample(self.samples.inputs, i)))
                total = total + self._loss(logits.cpu().double(), i) / divisor
            wanted = dict(self.plan.parameters)
            grads = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(wanted.items(), grads, strict=True)
        }

    def _loss(self, logits: Tensor, i: int) -> Tensor:
        if self.scale[i] < SMALLEST_RESIDUAL:
            direction = self._direction[i : i + 1].cpu().double()
            return (logits * direction).sum() * float(self.scale[i])
        wide = logits.reshape(1, -1)
        if wide.shape[1] == 1:
            wide = torch.cat([torch.zeros_like(wide), wide], 1)
        return F.cross_entropy(wide / self.temperature, self.samples.labels[i : i + 1])

    def squares(self, gradient: Mapping[str, Tensor]) -> Array:
        """Return a gradient's squared norm per layer, [layers]."""
        totals = np.zeros(self.layers)
        for name, tensor in gradient.items():
            totals[self.layer_index[name]] += tensor.cpu().double().square().sum().item()
        return totals

    def norm_error(self, recorded: Array, units: Array) -> Array:
        """Return the largest relative error of a recorded norm, per layer."""
        measured, truth = np.sqrt(recorded) / self.scale[:, None], np.sqrt(units)
        error: Array = np.abs(measured - truth) / np.maximum(
            np.maximum(measured, truth), np.finfo(float).tiny
        )
        # the square of such a gradient is zero even in float64: nothing was recorded to compare
        error[self.scale < SQUARE_ROOT_OF_TINY] = 0
        return np.asarray(error.max(0))

    def sum_error(self, expected: Mapping[str, Tensor], units: Array) -> Array:
        """Return ‖Σ_engine − Σ_autograd‖ / Σ‖g_i‖ per layer."""
        difference = {name: self.sums[name] - tensor for name, tensor in expected.items()}
        lengths = (np.sqrt(units) * (self.scale / self.peak)[:, None]).sum(0)
        return np.asarray(np.sqrt(self.squares(difference)) / np.maximum(lengths, np.finfo(float).tiny))

    def identity_error(self, units: Array) -> Array:
        """Return |mean_i⟨g_i, μ⟩ − ‖μ‖²| / (‖μ‖ · rms‖g_i‖) per layer; all but the rms from the engine."""
        count = len(self.scale)
        relative = self.scale / self.peak
        dots = np.zeros(self.layers)
        for name, form in self._forms.items():
            each = form.dot(self.sums[name] / count).cpu().double().numpy() * relative
            dots[self.layer_index[name]] += each.mean()
        squares = self.squares({name: tensor / count for name, tensor in self.sums.items()})
        size = np.sqrt(squares * (units * np.square(relative)[:, None]).mean(0))
        return np.asarray(np.abs(dots - squares) / np.maximum(size, np.finfo(float).tiny))
