"""One sample at a time, by plain autograd: the slow way that the fast ones are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.gradients.residuals import along, logits_of
from cohaudit.gradients.tracing.trace import call


def sample(inputs: Any, index: int) -> Any:
    """Return one sample of a batch of inputs as a batch of one."""
    return pytree.tree_map(lambda t: t[index : index + 1], inputs)


def single_gradients(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any, direction: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of ⟨direction, output⟩ for a batch of one.

    Args:
        model: In eval mode.
        parameters: Name → parameter.
        inputs: Batch of one sample, on the model's device.
        direction: Shaped like the model's output.

    Returns:
        Name → gradient; zero where the sample does not reach the parameter.
    """
    with torch.enable_grad():
        output = along(logits_of(call(model, inputs)), direction)
        grads = torch.autograd.grad(output, list(parameters.values()), allow_unused=True)
    return {
        # embeddings can be built to give sparse gradients
        name: torch.zeros_like(p) if g is None else g.to_dense()
        for (name, p), g in zip(parameters.items(), grads, strict=True)
    }
