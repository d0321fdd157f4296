"""What an optimizer's state shows of the gradients: how much of them was steady over the last steps.

Momentum and Adam average the gradients over time. Adam's two moments, exp_avg (m) and exp_avg_sq (v), show
how much of them was steady, without any data. Assume gradients of one direction plus noise that is
independent between steps. With bias-corrected moments m̂ and v̂, E[m̂²] = μ² + r σ² and E[v̂] = μ² + σ²,
where the noise left in an average of about 1 / (1 − β₁) steps is r = (1 − β₁)(1 + β₁ᵗ) / ((1 + β₁)(1 − β₁ᵗ))
after t steps. So

    (Σ m̂² / Σ v̂ − r) / (1 − r) = Σ μ² / Σ (μ² + σ²),

the coherence α of the steps' gradients: 0 for noise, 1 for a gradient that never changes.

v averages over more steps than m, about 1 / (1 − β₂): while gradients shrink, the coherence is too low.
Batches drawn without replacement are not independent, which lowers it a little (−0.04 for pure noise).

Decay that is coupled, as Adam's and unlike AdamW's, adds p = λw to each gradient. It is a steady pull, and
once training has settled it cancels the data's. With E[m̂] = E[g] + p, the data's gradients have E[g²] = E[v̂]
− 2 p E[m̂] + p². Nothing here knows a model or data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cohaudit.loading.checkpoint import can_compute

MAX_LEARNING_RATE = 1e6
"""Largest learning rate that is believed; anything above is not one."""

STEP_KEYS = ("step", "global_step", "steps")
"""Keys of a safetensors header that may hold the step."""

_LARGEST_NUMBER = 1e15
"""Largest number of an optimizer's state that is believed."""

MAX_STEP_DIGITS = 15
"""Most digits of a step; a longer number is not one."""

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last part of the names of tensors in a state dict that no optimizer updates."""


@dataclass(frozen=True)
class Moments:
    """Moments of one parameter's gradients in an optimizer's state.

    Attributes:
        first: m, shaped like the parameter; None for an optimizer without momentum.
        second: v, shaped like the parameter; None for an optimizer without second moments.
        steps: t, at least 1.
        betas: β₁ and β₂ of its parameter group; None if the group has none.
        decay: λw, what coupled weight decay adds to each gradient; None if it adds nothing, or if the state
            does not say whether it is coupled.
    """

    first: Tensor | None
    second: Tensor | None
    steps: int
    betas: tuple[float, float] | None
    decay: Tensor | None = None


def noise_left(beta: float, steps: int) -> float:
    """Return r, the share of independent noise's energy that a bias-corrected average keeps.

    Args:
        beta: β₁, in [0, 1).
        steps: t, at least 1; after a single step r is 1, and there is no coherence to compute.
    """
    decay = beta**steps
    return (1 - beta) * (1 + decay) / ((1 + beta) * (1 - decay))


def steady_energy(moments: Moments) -> tuple[float, float] | None:
    """Return Σ m̂² and Σ v̂ of a parameter, without weight decay.

    None if a moment or its β is missing, or all gradients were zero.

    Args:
        moments: Moments of the parameter; if they are not finite, neither is the result.
    """
    if moments.first is None or moments.second is None or moments.betas is None:
        return None
    # sums of squares of float32 moments underflow: late gradients are about 1e-8
    first = moments.first.double()
    second = moments.second.double()
    # both moments start at 0, which this corrects (Kingma & Ba, ICLR 2015)
    m = first / (1 - moments.betas[0] ** moments.steps)
    v = second / (1 - moments.betas[1] ** moments.steps)
    if moments.decay is not None:
        decay = moments.decay.double()
        v = v - 2 * decay * m + decay.square()
        m = m - decay
    # noise can take the difference below 0
    energy = max(0.0, float(v.sum()))
    return (float(m.square().sum()), energy) if energy else None


def temporal_coherence(parts: Sequence[Moments]) -> float | None:
    """Return the coherence over time of the gradients of some parameters together.

    Args:
        parts: Moments of each parameter.

    Returns:
        About 0 for noise, 1 for a gradient that never changes, a little beyond either by chance; None if no
        parameter has two moments, or one has made a single step.
    """
    known = [(moments, energy) for moments in parts if (energy := steady_energy(moments)) is not None]
    # after one step all noise is left: r is 1, and the formula 0 / 0
    if not known or any(moments.steps < 2 for moments, _ in known):
        return None
    steady = 0.0
    total = 0.0
    left = 0.0
    for moments, (first, second) in known:
        assert moments.betas is not None
        steady = steady + first
        total = total + second
        left += noise_left(moments.betas[0], moments.steps) * second
    # with β₁ = 0 all noise is left, and signal cannot be separated from it
    return (steady - left) / (total - left) if total > left else None


def moments_by_name(optimizer: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Moments]:
    """Find the parameter that each entry of an optimizer's state belongs to.

    The state numbers parameters in the order in which they were given to the optimizer, usually that of the
    model. Newer versions of torch also name them. Without names, each entry takes the next tensor of its own
    shape in the state dict.

    Args:
        optimizer: State dict of the optimizer, with `state` and `param_groups`.
        tensors: State dict of the model.

    Returns:
        Parameter name → moments, without entries that match no parameter.
    """
    resolved: dict[str, Moments] = {}
    left = [name for name in tensors if name.rpartition(".")[2] not in BUFFERS]
    for name, entry, group in _entries(optimizer):
        moments = _moments(entry, group)
        moment = moments.first if moments.first is not None else moments.second
        if moment is None:
            continue
        if name in tensors:
            resolved[name] = _with_decay(moments, group, tensors[name])
            continue
        fits = [n for n in left if tensors[n].shape == moment.shape]
        if fits:
            # the order is kept: tensors before the match belong to no later entry
            left = left[left.index(fits[0]) + 1 :]
            resolved[fits[0]] = _with_decay(moments, group, tensors[fits[0]])
    return resolved


def _with_decay(moments: Moments, group: Mapping[str, Any], weight: Tensor) -> Moments:
    """Return the moments with what weight decay adds to the gradient, if it is known to be coupled."""
    strength = number_of(group.get("weight_decay"))
    # older versions of torch write the same state for Adam and AdamW
    if group.get("decoupled_weight_decay") is not False or not strength > 0:
        return moments
    if moments.first is None or weight.shape != moments.first.shape:
        return moments
    return replace(moments, decay=strength * weight.detach().to(moments.first.device, torch.float64))


def groups_of(optimizer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parameter groups of an optimizer's state; anything malformed is left out."""
    groups = optimizer.get("param_groups")
    return [group for group in groups if isinstance(group, Mapping)] if isinstance(groups, list) else []


def _states(optimizer: Mapping[str, Any]) -> Mapping[Any, Any]:
    """Return parameter number → state; empty if the file holds something else under that name."""
    state = optimizer.get("state")
    return state if isinstance(state, Mapping) else {}


def _entries(optimizer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the name (empty if unknown), the state and the group of each parameter that has a state."""
    states = _states(optimizer)
    for group in groups_of(optimizer):
        params = group.get("params")
        names = group.get("param_names")
        if not isinstance(params, list):
            continue
        for place, index in enumerate(params):
            # a file can hold anything here: looking up a list or a dictionary would raise TypeError
            entry = states.get(index) if isinstance(index, int | str) else None
            if isinstance(entry, Mapping):
                name = names[place] if isinstance(names, list) and place < len(names) else ""
                yield str(name), entry, group


def _moments(entry: Mapping[str, Any], group: Mapping[str, Any]) -> Moments:
    """Return the moments in a parameter's state; what is missing or malformed is None."""
    first = next((entry[key] for key in ("exp_avg", "momentum_buffer") if _is_dense(entry.get(key))), None)
    second = entry["exp_avg_sq"] if _is_dense(entry.get("exp_avg_sq")) else None
    steps = number_of(entry.get("step"))
    betas = group.get("betas")
    known = None
    # torch writes a tuple, other programs may write a list
    if isinstance(betas, list | tuple) and len(betas) == 2:
        values = number_of(betas[0]), number_of(betas[1])
        known = values if all(0 <= value < 1 for value in values) else None
    # one step if unknown: then no coherence is computed, where a guess could give a wrong one
    return Moments(first, second, 1 if math.isnan(steps) else max(1, int(steps)), known)


def _is_dense(value: Any) -> bool:
    """Return whether a value is a plain tensor of floating point numbers."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    # four bits a number: torch stores them, and cannot compute with them
    return value.is_floating_point() and can_compute(value.dtype)


@dataclass(frozen=True)
class OptimizerProgress:
    """Progress of an optimizer, by its state.

    Attributes:
        steps: Gradient steps made; −1 if unknown.
        rate: Learning rate, the largest of its groups; NaN if unknown.
    """

    steps: int = -1
    rate: float = math.nan


def progress_of(
    optimizer: Mapping[str, Any] | None, metadata: Mapping[str, str] | None = None
) -> OptimizerProgress:
    """Return how many steps a checkpoint was trained for, and its learning rate.

    Args:
        optimizer: State of the optimizer, if the checkpoint has it.
        metadata: Header of the checkpoint, used if the optimizer's state does not give the step.
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
    """Return the step in a header; −1 if there is none."""
    steps = [metadata[name] for name in STEP_KEYS if metadata.get(name, "").isdecimal()]
    # digits are counted before `int` reads them: Python refuses thousands of them with ValueError
    return int(steps[0]) if steps and len(steps[0]) <= MAX_STEP_DIGITS else -1


def number_of(value: Any) -> float:
    """Return a number or a tensor of one as a float; NaN for anything else."""
    if isinstance(value, Tensor):
        value = _only_number(value)
    # a file can hold an integer of any length, beyond the range of a float
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST_NUMBER else math.nan


def _only_number(tensor: Tensor) -> Any:
    """Return the number in a tensor of one; None if it has more, or none that torch can read."""
    is_one = tensor.numel() == 1 and tensor.layout == torch.strided and not tensor.is_meta
    return tensor.item() if is_one and can_compute(tensor.dtype) else None
