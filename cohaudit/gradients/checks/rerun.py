"""The certificate's samples, measured again one at a time: by the engine, and by plain autograd.

Gradients of fitted samples are tiny, and their squares are zero even in float64. So the gradient of each
sample is divided by the norm of its residual (its *scale*), and sums by the largest scale (the *peak*).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cohaudit.gradients.checks.probe import Probe
from cohaudit.gradients.engine import Engine
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.gradients.residuals import Residuals, logits_of
from cohaudit.gradients.single_sample import sample
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.trace import call

Array = NDArray[np.float64]

SMALLEST_RESIDUAL = 1e-9
"""Autograd forms p − y by a subtraction in float64, whose rounding error is about 1e-16. Below this norm of
the residual too few digits are left, and the loss is replaced by ⟨residual, logits⟩."""


@dataclass(frozen=True)
class ParameterLayers:
    """Which layer each parameter belongs to.

    Attributes:
        names: Layer names.
        index: Parameter → position of its layer among the names.
    """

    names: Sequence[str]
    index: Mapping[str, int]

    def squares(self, gradient: Mapping[str, Tensor]) -> Array:
        """Return a gradient's squared norm per layer, [layers]."""
        totals = np.zeros(len(self.names))
        for name, tensor in gradient.items():
            totals[self.index[name]] += torch.dot(flat := tensor.flatten(), flat).item()
        return totals


@dataclass(frozen=True)
class EngineRerun:
    """What the engine measures on m samples, one at a time.

    Attributes:
        forms: For each sample, parameter → its gradient over its scale.
        directions: For each sample, the direction of its residual, shaped like the output.
        scale: Norm of each residual, at least the smallest normal number, [m].
        squared_norms: Squared norms of the loss gradients, [m, layers].
        sums: Parameter → sum of the samples' gradients over the peak.
    """

    forms: Sequence[Mapping[str, PerSample]]
    directions: Sequence[Tensor]
    scale: Array
    squared_norms: Array
    sums: Mapping[str, Tensor]

    @property
    def peak(self) -> float:
        """The largest scale."""
        return float(self.scale.max())


@dataclass(frozen=True)
class AutogradRerun:
    """The same by plain autograd.

    Attributes:
        unit_squares: ‖g_i‖² / scale_i², [m, layers].
        sums: Parameter → sum of the samples' gradients over the peak.
    """

    unit_squares: Array
    sums: Mapping[str, Tensor]


def rerun_engine(setup: PassSetup, plan: Plan, samples: Probe, layers: ParameterLayers) -> EngineRerun:
    """Measure the samples by the engine, in batches of one.

    Args:
        setup: Setup of the run.
        plan: How the run measured the model.
        samples: The m samples.
        layers: Layers of the parameters.
    """
    engine = Engine(setup.model, plan)
    forms: list[dict[str, PerSample]] = []
    directions: list[Tensor] = []
    scales: list[float] = []
    squares = np.zeros((len(samples.labels), len(layers.names)))

    def keep(name: str, form: PerSample, residuals: Residuals) -> None:
        forms[-1][name] = form
        # the same choice between Gram matrices and whole gradients as in the run
        cheapest = form if form.sparse else form.dense()
        squares[len(forms) - 1, layers.index[name]] += cheapest.squared_norms().double().item()

    # one at a time: in a batch an error could cancel, or come from another sample
    for i in range(len(samples.labels)):
        forms.append({})
        one = sample(samples.inputs, i)
        residuals = engine.run(one, samples.labels[i : i + 1], setup.options.temperature, keep).residuals
        directions.append(residuals.direction)
        scales.append(residuals.scale.item())
    scale = np.maximum(scales, SMALLEST_FLOAT64)
    sums = {name: torch.zeros_like(p) for name, p in plan.parameters.items()}
    # relative to the peak: with their own scales, gradients of fitted samples could underflow
    for own, relative in zip(forms, scale / float(scale.max()), strict=True):
        for name, form in own.items():
            sums[name] += form.weighted_sum(sums[name].new_tensor([relative]))
    return EngineRerun(forms, directions, scale, squares * np.square(scale)[:, None], sums)


def rerun_autograd(
    setup: PassSetup, plan: Plan, samples: Probe, layers: ParameterLayers, engine: EngineRerun
) -> AutogradRerun:
    """Differentiate the loss of each sample alone, by autograd through the whole model.

    Args:
        setup: Setup of the run.
        plan: Names the parameters.
        samples: The m samples.
        layers: Layers of the parameters.
        engine: Gives the scales, and the direction of residuals that are too small for the loss.
    """
    unit_squares = []
    sums = {name: torch.zeros_like(p) for name, p in plan.parameters.items()}
    for i in range(len(engine.scale)):
        with torch.enable_grad():
            logits = logits_of(call(setup.model, sample(samples.inputs, i)))
            # in float64, so that the network's gradients are compared and not the rounding of the loss
            wide = logits.cpu().double()
            loss = _loss(wide, samples.labels[i : i + 1], setup.options.temperature, engine, i)
            # a sample need not reach every parameter: autograd gives None then
            grads = torch.autograd.grad(
                loss / engine.scale[i], list(plan.parameters.values()), allow_unused=True
            )
        gradient = {
            name: torch.zeros_like(p) if g is None else g.to_dense()  # an embedding's can be sparse
            for (name, p), g in zip(plan.parameters.items(), grads, strict=True)
        }
        unit_squares.append(layers.squares(gradient))
        # added up in the order of the samples, as the engine's sums
        for name, tensor in gradient.items():
            sums[name].add_(tensor, alpha=float(engine.scale[i] / engine.peak))
    return AutogradRerun(np.stack(unit_squares), sums)


def _loss(logits: Tensor, label: Tensor, temperature: float, engine: EngineRerun, i: int) -> Tensor:
    """Return the loss of sample i, or what has the same gradient where the loss is too small for float64."""
    if engine.scale[i] < SMALLEST_RESIDUAL:
        direction = engine.directions[i].cpu().double()
        return (logits * direction).sum() * float(engine.scale[i])
    wide = logits.reshape(1, -1)
    # a single output z stands for the logits [0, z], as in `class_logits`
    if wide.shape[1] == 1:
        wide = torch.cat([torch.zeros_like(wide), wide], 1)
    return F.cross_entropy(wide / temperature, label)
