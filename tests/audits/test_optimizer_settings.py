"""Optimizers are recognized by their state dicts, as torch writes them and as strangers may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, optim

from cohaudit.audits.optimizer_settings import OptimizerSettings, optimizer_settings

Parameters = list[nn.Parameter]
MADE: dict[str, tuple[Callable[[Parameters], optim.Optimizer], OptimizerSettings | None]] = {
    "sgd": (
        lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        OptimizerSettings("sgd", 0.1, 0.1, 5e-4, momentum=0.9, nesterov=True),
    ),
    "plain sgd": (lambda p: optim.SGD(p, 0.1), OptimizerSettings("sgd", 0.1, 0.1)),
    "adam": (
        lambda p: optim.Adam(p, 3e-4, betas=(0.8, 0.95)),
        OptimizerSettings("adam", 3e-4, 3e-4, betas=(0.8, 0.95)),
    ),
    "adamw": (lambda p: optim.AdamW(p, 3e-4), OptimizerSettings("adamw", 3e-4, 3e-4, 0.01)),
    "another": (lambda p: optim.RMSprop(p, 0.1), None),
    "several groups: the largest": (
        lambda p: optim.AdamW([{"params": p[:1], "lr": 0.5}, {"params": p[1:], "lr": 0.25}]),
        OptimizerSettings("adamw", 0.25, 0.25, 0.01),
    ),
}


def parameters() -> Parameters:
    return [nn.Parameter(torch.zeros(2)) for _ in range(3)]


@pytest.mark.parametrize("name", MADE)
def test_what_torch_writes_is_read(name: str) -> None:
    make, expected = MADE[name]
    assert optimizer_settings(make(parameters()).state_dict()) == expected


def test_a_schedule_leaves_its_first_and_its_last_rate() -> None:
    optimizer = optim.SGD(parameters(), 0.4)
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert optimizer_settings(optimizer.state_dict()) == OptimizerSettings("sgd", 0.4, 0.1)


@pytest.mark.parametrize(("decay", "name"), [(0.0, "adam"), (0.1, "adamw")])
def test_older_torch_does_not_say_which_adam_it_was(decay: float, name: str) -> None:
    state = optim.AdamW(parameters(), 1e-3, weight_decay=decay).state_dict()
    for group in state["param_groups"]:
        group.pop("decoupled_weight_decay", None)
    found = optimizer_settings(state)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "change",
    [
        {"lr": float("nan")},
        {"lr": "fast"},
        {"lr": 0.0},
        {"lr": -1.0},
        {"weight_decay": -1.0},
        {"betas": 0.9},
        {"betas": [0.9, 1.5]},
        {"betas": (None, 0.9)},
    ],
)
def test_what_cannot_be_is_not_believed(change: dict[str, Any]) -> None:
    state = optim.Adam(parameters(), 1e-3).state_dict()
    state["param_groups"][0] |= change
    assert optimizer_settings(state) is None


@pytest.mark.parametrize("state", [None, {}, {"param_groups": 3}, {"param_groups": [7]}])
def test_without_groups_nothing_is_known(state: dict[str, Any] | None) -> None:
    assert optimizer_settings(state) is None
