"""All networks that the engine is tested on, by name, and how to build one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from support.architectures import ARCHITECTURES
from support.networks import LAYER_CASES, Case
from torch import nn
from torch.utils import _pytree as pytree

ALL_CASES: Mapping[str, Case] = LAYER_CASES | ARCHITECTURES
CONVOLUTIONS = [name for name in ALL_CASES if "conv" in name]


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Any]:
    """Return a case's network in eval mode, with running statistics that are not trivial, and its inputs."""
    torch.manual_seed(7)
    case = ALL_CASES[name]
    inputs = case.inputs()
    model = case.build()
    with torch.no_grad():
        model(*inputs) if isinstance(inputs, tuple) else model(inputs)  # lazy layers, running statistics
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias)
    model = model.to(dtype).eval()
    return model, pytree.tree_map(lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)
