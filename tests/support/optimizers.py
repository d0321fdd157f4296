"""A small network trained with any optimizer, for its state."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 3))


def trained(kind: Any, steps: int = 40, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = network()
    optimizer = kind(model.parameters(), lr=1e-3, **options)
    x, y = torch.randn(64, 6), torch.randint(3, (64,))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, optimizer
