"""The plan tried on a few samples before anything expensive: each one alone, by plain autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from cohaudit.errors import EngineError, ModelError, describe_error, is_out_of_memory
from cohaudit.gradients.engine import Engine
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.residuals import Residuals, class_logits, logits_of
from cohaudit.gradients.single_sample import sample, single_gradients
from cohaudit.gradients.tracing.batch_dependence import mixing_module, random_module
from cohaudit.gradients.tracing.plan import Plan, owner_name
from cohaudit.gradients.tracing.trace import call
from cohaudit.gradients.vmap import UnsupportedCallError

STRUCTURAL_ERROR = 1e-2
"""A relative error above this is not rounding: the model uses the parameter in a way that the plan does not
see."""

LOGIT_ERROR = 1e-3
"""Logits that move by more than this share of the largest logit did not come from the sample alone."""

ZERO_GRADIENT_ROUNDINGS = 10
"""A gradient of up to this many units in the last place of all gradients together counts as zero."""


def refuse_unstable(model: nn.Module, inputs: Any, samples: int) -> None:
    """Check that the model's output is a function of the sample: the same twice, and the same alone.

    Args:
        model: In eval mode.
        inputs: A batch on the model's device.
        samples: Its number of samples.

    Raises:
        ModelError: If it cannot be called on a sample alone.
        EngineError: If a second forward pass differs, or a sample's logits depend on its batch; names the
            module in which that begins.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise EngineError(
                f"layer {owner_name(name)}",
                f"its parameter {name} is complex, and only gradients of real numbers are measured",
                "keep real and imaginary part as one real parameter: torch.view_as_complex(parameter)",
            )
    # named before the comparison below, which would find the mixing, but not its remedy
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise EngineError(
                f"layer {name}",
                "BatchNorm without running statistics mixes the samples of a batch",
                "build the model with track_running_stats=True, or with GroupNorm or LayerNorm",
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.scale_grad_by_freq:
            raise EngineError(
                f"layer {name}",
                "scale_grad_by_freq=True divides a sample's gradient by how often its batch has each token",
                "build the model with scale_grad_by_freq=False: its output stays the same",
            )
    with torch.no_grad():
        first, second = (class_logits(logits_of(call(model, inputs))) for _ in range(2))
        alone = torch.cat([_logits_alone(model, inputs, i, first.shape[1]) for i in range(samples)])
    # at least as for logits of size 1: a model may answer with zeros
    bound = LOGIT_ERROR * max(1.0, first.abs().max().item())
    # randomness first: a random model also fails the comparison with single samples
    if (first - second).abs().max().item() > bound:
        raise EngineError(
            _place(random_module(model, inputs)),
            "two forward passes over the same samples differ",
            "turn off what is random in eval mode (functional dropout needs training=self.training)",
        )
    if (first - alone).abs().max().item() > bound:
        raise EngineError(
            _place(mixing_module(model, inputs, samples)),
            "a sample's logits depend on the other samples of its batch",
            "normalize with running statistics or within the sample, so that samples do not mix",
        )


def _place(module: str) -> str:
    return f"layer {module}" if module else "model"


def _logits_alone(model: nn.Module, inputs: Any, index: int, classes: int) -> Tensor:
    """Return the logits of one sample as a batch of its own, [1, classes].

    Raises:
        ModelError: If the model fails on it, or returns logits of another shape.
    """
    try:
        output = call(model, sample(inputs, index))
    except Exception as error:  # user code can raise anything
        problem = describe_error(error)
    else:
        logits = logits_of(output)
        if class_logits(logits).shape == (1, classes):
            return class_logits(logits)
        problem = f"its output has the shape {list(logits.shape)}"
    raise ModelError(
        "model",
        f"it takes several samples, but not one alone: {problem}",
        "keep the batch dimension throughout: squeeze(-1), not squeeze()",
    )


def settle(model: nn.Module, plan: Plan, inputs: Any, labels: Tensor) -> Plan:
    """Return the plan with whatever the fast paths cannot measure moved to the loop.

    Args:
        model: In eval mode.
        plan: Plan from `make_plan`.
        inputs: A few samples on the model's device.
        labels: Their labels, int64, on the CPU.

    Raises:
        RuntimeError: If not even the loop can measure them.
    """
    fold_reversed = False
    while True:
        try:
            wrong = _wrong_parameters(model, plan, inputs, labels)
        except UnsupportedCallError as unsupported:
            plan = plan.with_loop(unsupported.parameters)
            continue
        except CheckpointError:  # what is computed again in the backward pass is not intercepted there
            plan = plan.with_loop(plan.parameters)
            continue
        except RuntimeError as error:
            # a model that opens autocast itself, for example, mixes types that the formulas do not expect
            if plan.all_looped or is_out_of_memory(error):
                raise
            plan = plan.with_loop(plan.parameters)
            continue
        if not wrong or fold_reversed:
            return plan.with_loop(wrong) if wrong else plan
        # shapes do not tell in which order positions are folded into the batch: try the other one once
        plan = plan.with_inner(wrong)
        fold_reversed = True


def _wrong_parameters(model: nn.Module, plan: Plan, inputs: Any, labels: Tensor) -> set[str]:
    """Return the parameters whose gradients differ from plain autograd by more than rounding."""
    measured: dict[str, Tensor] = {}

    def keep(name: str, form: PerSample, residuals: Residuals) -> None:
        measured[name] = form.dense().gradients

    residuals = Engine(model, plan).run(inputs, labels, 1.0, keep).residuals
    parameters = dict(plan.parameters)
    singles = [
        single_gradients(model, parameters, sample(inputs, i), residuals.direction[i : i + 1])
        for i in range(len(labels))
    ]
    expected = {name: torch.stack([single[name] for single in singles]) for name in plan.parameters}
    size = sum(float(gradient.norm()) for gradient in expected.values())
    wrong = set()
    for name, gradient in expected.items():
        difference = gradient - measured[name] if name in measured else gradient
        # a bias before a normalization has a gradient of zero: all that is measured of it is rounding
        rounding = ZERO_GRADIENT_ROUNDINGS * torch.finfo(gradient.dtype).eps * size
        if difference.norm() > STRUCTURAL_ERROR * gradient.norm() + rounding:
            wrong.add(name)
    return wrong
