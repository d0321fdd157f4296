"""Gradients of one sample at a time by plain autograd, and a small network to take them of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support.networks import CLASSES
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.residuals import logits_of
from cohaudit.pipeline.scan import options_of

CPU = torch.device("cpu")


OPTIONS = options_of(Config(batch_size=4))


def source(inputs: Any, labels: Any) -> Source:
    return Source(
        lambda indices: pytree.tree_map(lambda t: t[list(indices)], inputs),
        np.asarray(labels),
        [f"s{i}" for i in range(len(labels))],
        [f"c{i}" for i in range(CLASSES)],
    )


def ignore(done: int) -> None:
    """Take no notice of progress."""


def everything(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.arange(p.numel()) for name, p in model.named_parameters() if p.requires_grad}


def one_by_one(model: nn.Module, inputs: Any, labels: np.ndarray) -> dict[str, np.ndarray]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in named}
    for i, label in enumerate(labels):
        one = pytree.tree_map(lambda t, i=i: t[i : i + 1], inputs)
        logits = logits_of(model(*one) if isinstance(one, tuple) else model(one))
        loss = F.cross_entropy(logits, torch.tensor([label]))
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for (name, p), g in zip(named.items(), found, strict=True):
            rows[name].append((torch.zeros_like(p) if g is None else g).flatten().numpy())
    return {name: np.stack(own) for name, own in rows.items()}


def fit_network(count: int = 60) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x, y = torch.randn(count, 4, dtype=torch.float64), torch.arange(count) % CLASSES
    x[:, 0] += 2 * y
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    return model, x, y
