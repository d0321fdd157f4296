"""Plain training loops, and what a trained network answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    size: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Train for one pass over the samples in a random order; the network is left in eval mode.

    Args:
        model: Network to train.
        optimizer: Optimizer of its parameters.
        inputs: Training samples, [samples, ...].
        labels: Their labels, int64 [samples].
        size: Batch size; a last batch of a single sample is left out.
        generator: Draws the order; torch's global one by default.
    """
    model.train()
    for batch in torch.randperm(len(labels), generator=generator).split(size):
        if len(batch) == 1:
            continue  # BatchNorm has no variance of one sample
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()


def logits_of(model: nn.Module, inputs: Tensor, size: int = 500) -> Tensor:
    """Return a network's logits, [samples, classes], in batches of `size`."""
    with torch.no_grad():
        return torch.cat([model(x) for x in inputs.split(size)])


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of the labels that a network predicts."""
    return (logits_of(model, inputs).argmax(1) == labels).double().mean().item()
