"""What an optimizer remembers of the gradients: how much of them was steady over the last steps.

Momentum and Adam keep what is coherent over time. Adam's two moments, exp_avg (m) and exp_avg_sq (v), tell
how much that is, without data: with bias-corrected moments m̂ and v̂, gradients that are one direction plus
noise of independent steps give E[m̂²] = μ² + r σ² and E[v̂] = μ² + σ², where the noise that is left in an
average of about 1 / (1 − β₁) steps is r = (1 − β₁)(1 + β₁ᵗ) / ((1 + β₁)(1 − β₁ᵗ)) after t steps. So

    (Σ m̂² / Σ v̂ − r) / (1 − r) = Σ μ² / Σ (μ² + σ²),

the coherence α of the steps' gradients: 0 for noise, 1 for a gradient that never changes.

v remembers longer than m, about 1 / (1 − β₂) steps: while gradients shrink, the coherence is understated.
Nothing here knows a model or data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_LEARNING_RATE = 1e6
"""No training steps further."""
STEP_KEYS = ("step", "global_step", "steps")
"""Keys of a safetensors header that tell the step."""
MAX_STEP_DIGITS = 15
"""Digits of a step; more are none."""
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last names of tensors in a state dict that no optimizer steps."""


@dataclass(frozen=True)
class Moments:
    """What the optimizer keeps of one parameter.

    Attributes:
        first: m, shaped like the parameter; None for an optimizer without momentum.
        second: v, likewise; None for one that keeps none.
        steps: t, at least 1.
        betas: β₁ and β₂ of its group; None where the group names none.
    """

    first: Tensor | None
    second: Tensor | None
    steps: int
    betas: tuple[float, float] | None


def noise_left(beta: float, steps: int) -> float:
    """Return r, the share of independent noise's energy that a bias-corrected average keeps.

    Args:
        beta: β₁, in [0, 1).
        steps: t, at least 1; after a single step it is 1, and no coherence can be told.
    """
    decay = beta**steps
    return (1 - beta) * (1 + decay) / ((1 + beta) * (1 - decay))


def steady_energy(moments: Moments) -> tuple[float, float] | None:
    """Return Σ m̂² and Σ v̂ of a parameter; None where a moment or its β is missing, or it never moved.

    Args:
        moments: Of the parameter; not finite ones give numbers that are not finite.
    """
    if moments.first is None or moments.second is None or moments.betas is None:
        return None
    first = moments.first.double()
    second = moments.second.double()
    m = first / (1 - moments.betas[0] ** moments.steps)
    v = second / (1 - moments.betas[1] ** moments.steps)
    energy = float(v.sum())
    return (float(m.square().sum()), energy) if energy else None


def temporal_coherence(parts: Sequence[Moments]) -> float | None:
    """Return the coherence over time of the gradients of some parameters together.

    Args:
        parts: Their moments.

    Returns:
        About 0 for noise to 1 for a gradient that never changes, a little beyond either by chance; None where
        it cannot be told.
    """
    told = [(moments, energy) for moments in parts if (energy := steady_energy(moments)) is not None]
    if not told or any(moments.steps < 2 for moments, _ in told):
        return None
    steady = 0.0
    total = 0.0
    left = 0.0
    for moments, (first, second) in told:
        assert moments.betas is not None
        steady = steady + first
        total = total + second
        left += noise_left(moments.betas[0], moments.steps) * second
    return (steady - left) / (total - left) if total > left else None


def moments_by_name(optimizer: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Moments]:
    """Find which parameter each entry of an optimizer's state belongs to.

    The state counts parameters in the order in which they were given to the optimizer, usually that of the
    model. Newer ones name them. Else each takes the next tensor of the state dict of its own shape.

    Args:
        optimizer: Its state dict: `state` and `param_groups`.
        tensors: The model's state dict.

    Returns:
        Name → moments; without those that could not be resolved.
    """
    found: dict[str, Moments] = {}
    left = [name for name in tensors if name.rpartition(".")[2] not in BUFFERS]
    for name, entry, group in _entries(optimizer):
        moments = _moments(entry, group)
        kept = moments.first if moments.first is not None else moments.second
        if kept is None:
            continue
        fits = [n for n in left if tensors[n].shape == kept.shape] if name not in tensors else [name]
        if fits:
            left = left[left.index(fits[0]) + 1 :] if name not in tensors else left
            found[fits[0]] = moments
    return found


def groups_of(optimizer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parameter groups of an optimizer's state; a file may hold anything under that name."""
    groups = optimizer.get("param_groups")
    return [group for group in groups if isinstance(group, Mapping)] if isinstance(groups, list) else []


def _states(optimizer: Mapping[str, Any]) -> Mapping[Any, Any]:
    state = optimizer.get("state")
    return state if isinstance(state, Mapping) else {}


def _entries(optimizer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield for each parameter with a state its name, if told, its state, and its group."""
    states = _states(optimizer)
    for group in groups_of(optimizer):
        params = group.get("params")
        names = group.get("param_names")
        if not isinstance(params, list):
            continue
        for place, index in enumerate(params):
            entry = states.get(index) if isinstance(index, int | str) else None
            if isinstance(entry, Mapping):
                name = names[place] if isinstance(names, list) and place < len(names) else ""
                yield str(name), entry, group


def _moments(entry: Mapping[str, Any], group: Mapping[str, Any]) -> Moments:
    first = next((entry[key] for key in ("exp_avg", "momentum_buffer") if _is_dense(entry.get(key))), None)
    second = entry["exp_avg_sq"] if _is_dense(entry.get("exp_avg_sq")) else None
    steps = number_of(entry.get("step"))
    betas = group.get("betas")
    known = None
    if isinstance(betas, list | tuple) and len(betas) == 2:
        values = number_of(betas[0]), number_of(betas[1])
        known = values if all(0 <= value < 1 for value in values) else None
    return Moments(first, second, 1 if math.isnan(steps) else max(1, int(steps)), known)


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()


@dataclass(frozen=True)
class OptimizerProgress:
    """How far an optimizer went, by its state.

    Attributes:
        steps: Taken; −1 where it does not tell.
        rate: Its learning rate, the largest of its groups'; NaN where it names none.
    """

    steps: int = -1
    rate: float = math.nan


def progress_of(
    optimizer: Mapping[str, Any] | None, metadata: Mapping[str, str] | None = None
) -> OptimizerProgress:
    """Return what a checkpoint tells of the steps taken.

    Args:
        optimizer: Its optimizer's state; None tells nothing.
        metadata: What its header says; counts where the optimizer does not tell.
    """
    if not optimizer:
        return OptimizerProgress(_step_in(metadata or {}))
    groups = groups_of(optimizer)
    states = _states(optimizer)
    entries = [entry for entry in states.values() if isinstance(entry, Mapping)]
    steps = [step for entry in entries if (step := number_of(entry.get("step"))) >= 0]
    rates = [rate for group in groups if 0 <= (rate := number_of(group.get("lr"))) <= MAX_LEARNING_RATE]
    if not steps and not states and any("betas" in group for group in groups):
        steps = [0.0]  # Adam before its first step
    return OptimizerProgress(int(max(steps, default=_step_in(metadata or {}))), max(rates, default=math.nan))


def _step_in(metadata: Mapping[str, str]) -> int:
    """Return the step that a header tells; −1 for none."""
    told = [metadata[name] for name in STEP_KEYS if metadata.get(name, "").isdecimal()]
    return int(told[0]) if told and len(told[0]) <= MAX_STEP_DIGITS else -1


def number_of(value: Any) -> float:
    """Return a number or a tensor of one as a float; NaN for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
