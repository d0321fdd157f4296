"""Chooses which parameters of a plan are measured: all, or those of the layers that the user named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.gradients.tracing.plan import Plan, owner_name
from cohaudit.results import Skipped
from cohaudit.results.wording import compact

OPTION = "--layers"
"""What messages call the setting."""

COUNTED = re.compile(r"(last|every):([1-9][0-9]{0,5})")
"""The patterns that count layers instead of naming them."""


def choose_layers(model: nn.Module, plan: Plan, patterns: Sequence[str]) -> Plan:
    """Return the plan with the gradients of some parameters only.

    Which layers' inputs represent the samples stays as it is, so that verdicts do not depend on the choice.

    Args:
        model: The model of the plan.
        plan: How all of its parameters are measured.
        patterns: Which of them to measure; all if there are none. A pattern fits parameters by their own
            name, by that of their layer or by that of a module around it, where * stands for anything.
            `last:N` fits the last N layers of the forward pass, `every:N` every N-th, counted from the last.

    Raises:
        ConfigError: If a pattern fits none of them.
    """
    if not patterns:
        return plan
    known = _names_of(model, plan)
    layers = list(dict.fromkeys(plan.layer_of.values()))
    chosen: set[str] = set()
    for pattern in patterns:
        fitting = _fitting(pattern, known, plan, layers)
        if not fitting:
            raise ConfigError(
                OPTION,
                f"{pattern!r} fits no layer or parameter that is trained and reaches the model's output",
                did_you_mean(pattern, sorted({*layers, *plan.parameters})),
            )
        chosen |= fitting
    return _narrowed(plan, chosen, layers)


def _names_of(model: nn.Module, plan: Plan) -> Mapping[str, set[str]]:
    """Return what each parameter is called: each of its names, and the modules that hold it."""
    known = {name: {owner} for name, owner in plan.layer_of.items()}
    names = {id(parameter): name for name, parameter in plan.parameters.items()}
    # a tied weight has a name in each module that shares it
    for alias, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names:
            parts = alias.split(".")
            known[names[id(parameter)]] |= {".".join(parts[: k + 1]) for k in range(len(parts))}
    return known


def _fitting(pattern: str, known: Mapping[str, set[str]], plan: Plan, layers: Sequence[str]) -> set[str]:
    counted = COUNTED.fullmatch(pattern)
    if counted is None:
        return {name for name, called in known.items() if any(fnmatchcase(one, pattern) for one in called)}
    number = int(counted[2])
    # from the output on: the last layer is among them either way
    backward = layers[::-1]
    wanted = set(backward[:number] if counted[1] == "last" else backward[::number])
    return {name for name, owner in plan.layer_of.items() if owner in wanted}


def _narrowed(plan: Plan, chosen: Iterable[str], layers: Sequence[str]) -> Plan:
    measured = {name: p for name, p in plan.parameters.items() if name in chosen}
    left_out = {name: p for name, p in plan.parameters.items() if name not in measured}
    if not left_out:
        return plan
    layer_of = {name: plan.layer_of[name] for name in measured}
    numbers = sum(p.numel() for p in left_out.values())
    whole = sum(p.numel() for p in plan.parameters.values())
    owners = {owner_name(name) for name in left_out} - set(layer_of.values())
    reason = (
        f"{len(owners)} of {len(layers)} layers, {compact(numbers)} of {compact(whole)} parameters: "
        "not among those chosen by the setting layers"
    )
    return replace(
        plan,
        parameters=measured,
        layer_of=layer_of,
        left_out=left_out,
        looped=plan.looped & measured.keys(),
        skipped=(*plan.skipped, Skipped("layers not measured", reason)),
        coverage=plan.coverage * (1 - numbers / whole),
    )
