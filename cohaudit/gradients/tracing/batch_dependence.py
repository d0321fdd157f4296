"""Names the module that mixes the samples of a batch, or is random, by comparing two forward passes.

Modules are compared in the order in which they return, so that an inner one comes before the one that holds
it. The first whose outputs differ although its inputs do not is where the difference begins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.gradients.tracing.trace import call, every_module_called

EQUALITY_TOLERANCE = 1e-4
"""Values that differ by less than this share of the largest value differ by rounding only."""


def random_module(model: nn.Module, inputs: Any) -> str:
    """Return the name of the module whose outputs differ for the same inputs; empty if none is found.

    Args:
        model: In eval mode.
        inputs: A batch.
    """
    return _first_difference(_record(model, inputs), _record(model, inputs), None)


def mixing_module(model: nn.Module, inputs: Any, samples: int) -> str:
    """Return the name of the module whose output for a sample depends on the others; empty if none is found.

    The batch is run once unchanged, and once with each sample replaced by the first. The first sample's
    values must then be the same.

    Args:
        model: In eval mode.
        inputs: A batch.
        samples: Its number of samples.
    """
    # copies of a real sample rather than zeros or noise, which a model may treat differently
    repeated = pytree.tree_map(lambda t: t[:1].expand_as(t).clone(), inputs)
    return _first_difference(_record(model, inputs), _record(model, repeated), samples)


_Record = list[tuple[str, list[Tensor], list[Tensor]]]


def _record(model: nn.Module, inputs: Any) -> _Record:
    """Return each module call's name, inputs and outputs, in the order in which the calls return."""
    record: _Record = []
    handles = []
    for name, module in model.named_modules():

        def keep(_: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            # a clone: the next module may change these in place
            record.append((name, _tensors((args, kwargs)), _tensors(output)))

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        with torch.no_grad(), every_module_called():
            call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return record


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf.clone() for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _first_difference(first: _Record, second: _Record, samples: int | None) -> str:
    for (name, inputs, outputs), (other, other_inputs, other_outputs) in zip(first, second, strict=False):
        if name != other:  # the path depends on the data: from here on calls cannot be compared
            break
        if _equal(inputs, other_inputs, samples) and not _equal(outputs, other_outputs, samples):
            return name
    return ""


def _equal(first: list[Tensor], second: list[Tensor], samples: int | None) -> bool:
    """Return whether the tensors are equal; with `samples`, whether those of the first sample are."""
    if [a.shape for a in first] != [b.shape for b in second]:
        return False
    return all(_same(a, b, samples) for a, b in zip(first, second, strict=True))


def _same(a: Tensor, b: Tensor, samples: int | None) -> bool:
    if samples is None:
        return _close(a, b)
    # if there are as many positions as samples, shapes do not tell which dimension holds the samples
    dimensions = [d for d, size in enumerate(a.shape) if size == samples]
    return not dimensions or any(_close(a.select(d, 0), b.select(d, 0)) for d in dimensions)


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.numel() or not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    return torch.allclose(a, b, EQUALITY_TOLERANCE, EQUALITY_TOLERANCE * float(a.abs().max()), equal_nan=True)
