"""The optimizer that a network was trained with, read from its state dict: enough to train a copy alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cohaudit.audits.optimizer_state import MAX_LEARNING_RATE, groups_of, number_of

OptimizerName = Literal["sgd", "adam", "adamw"]
"""Optimizers that can be built again."""


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer and its settings.

    Attributes:
        name: Kind of optimizer.
        lr: Learning rate at the start of the training run.
        last_lr: Learning rate at its end; equal to `lr` without a schedule.
        weight_decay: λ, 0 or more.
        momentum: Momentum of SGD, in [0, 1).
        nesterov: Whether that is Nesterov's.
        betas: β₁ and β₂ of Adam, in [0, 1).
    """

    name: OptimizerName
    lr: float
    last_lr: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)


def optimizer_settings(optimizer: Mapping[str, Any] | None) -> OptimizerSettings | None:
    """Return the settings in an optimizer's state dict; None if it is not of SGD, Adam or AdamW.

    Of several parameter groups the one with the most parameters counts. A schedule of torch's leaves its
    first learning rate in the group as `initial_lr`.

    Args:
        optimizer: State dict of the optimizer, if the checkpoint has it.
    """
    groups = groups_of(optimizer) if optimizer else []
    if not groups:
        return None
    group = max(groups, key=_parameters)
    name = _name(group)
    last = number_of(group.get("lr"))
    first = number_of(group.get("initial_lr", group.get("lr")))
    decay = number_of(group.get("weight_decay"))
    if name is None or not (0 < first <= MAX_LEARNING_RATE and 0 <= last <= first and decay >= 0):
        return None
    if name == "sgd":
        momentum = number_of(group.get("momentum"))
        nesterov = bool(group.get("nesterov")) and momentum > 0
        return OptimizerSettings(name, first, last, decay, momentum, nesterov) if 0 <= momentum < 1 else None
    betas = group["betas"]
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        return None
    known = number_of(betas[0]), number_of(betas[1])
    # NaN, for what is no number, is in no range
    if not all(0 <= beta < 1 for beta in known):
        return None
    return OptimizerSettings(name, first, last, decay, betas=known)


def _parameters(group: Mapping[str, Any]) -> int:
    params = group.get("params")
    return len(params) if isinstance(params, list) else 0


def _name(group: Mapping[str, Any]) -> OptimizerName | None:
    """Tell the kind by the settings that only it has; RMSprop, Lion and others are none of these."""
    if "betas" in group and "amsgrad" in group:
        decoupled = group.get("decoupled_weight_decay")
        # older versions of torch write the same for both, which differ only in the decay: AdamW's by default
        if decoupled is None:
            decoupled = number_of(group.get("weight_decay")) > 0
        return "adamw" if decoupled else "adam"
    return "sgd" if "nesterov" in group and "dampening" in group else None
