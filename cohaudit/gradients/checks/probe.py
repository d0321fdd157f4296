"""A few samples on the model's device, for planning, for the certificate and for error messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.gradients.pass_setup import Source


@dataclass(frozen=True)
class Probe:
    """A few loaded samples.

    Attributes:
        inputs: Batch of inputs on the model's device.
        labels: int64 [samples], on the CPU.
        ids: One per sample.
    """

    inputs: Any
    labels: Tensor
    ids: Sequence[str]


def load_probe(source: Source, indices: Sequence[int], model: nn.Module, device: torch.device) -> Probe:
    """Load some samples.

    Args:
        source: All samples.
        indices: Indices of the samples to load.
        model: Model that will be called on them.
        device: Device of the model.
    """
    return Probe(
        inputs=to_model(source.load(list(indices)), model, device),
        labels=torch.from_numpy(source.labels[list(indices)]),
        ids=[source.ids[i] for i in indices],
    )


def to_model(inputs: Any, model: nn.Module, device: torch.device) -> Any:
    """Return a batch of inputs on the model's device; float inputs in the dtype of its parameters."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        # token ids and masks keep their type: a model looks them up, or selects by them
        return leaf.to(device, dtype) if leaf.is_floating_point() else leaf.to(device)

    return pytree.tree_map(move, inputs)
