"""Checks that tensors can be used as weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cohaudit.errors import CheckpointError

_MAX_TENSORS_SHOWN = 3
"""Tensors to list in a message."""


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise an error if weights are NaN or infinite: such a model has no gradients to audit.

    A tensor of only 0 and -inf passes: it is an additive attention mask, infinite by design.

    Args:
        tensors: Name → weights, of any shape.
        where: The checkpoint, for messages.

    Raises:
        CheckpointError: If there are such weights; it names the first tensors and counts their bad values.
    """
    bad = [f"{name} ({count})" for name, tensor in tensors.items() if (count := _count_not_finite(tensor))]
    if bad:
        verb = "holds" if len(bad) == 1 else "hold"
        raise CheckpointError(
            where,
            f"{len(bad)} of {len(tensors)} tensors {verb} NaN or infinite values: {_some(bad)}",
            "audit an earlier checkpoint: the training run diverged, or the file is damaged",
        )


def check_usable(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise an error if a checkpoint has no tensors, or tensors that are not plain arrays of numbers.

    Args:
        tensors: Name → weights, of any shape.
        where: The checkpoint, for messages.

    Raises:
        CheckpointError: If there is no tensor, or one has an unprintable name, no data, or a packed layout.
    """
    if not tensors:
        raise CheckpointError(where, "holds no tensors", "name the file that holds the model's weights")
    for name, tensor in tensors.items():
        # an escape sequence in a name would otherwise reach the terminal with the first message
        if not name.isprintable():
            raise CheckpointError(
                where,
                f"the name of a tensor cannot be printed: {name!a}",
                "get the file again from its source: training code does not write such names",
            )
        if reason := _not_plain(tensor):
            raise CheckpointError(
                where, f"{name} is {reason}", "save the weights as ordinary dense float tensors"
            )


def _not_plain(tensor: Tensor) -> str:
    """Say what a tensor is instead of a dense array; '' if it is one."""
    if tensor.is_meta:
        return "on the meta device, which holds no values"
    if tensor.is_quantized:
        return "quantized"
    return "" if tensor.layout == torch.strided else f"sparse ({tensor.layout})"


def _count_not_finite(tensor: Tensor) -> str:
    """Count a tensor's NaN and infinite values, in words; '' if there are none."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return ""
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.float()  # torch has no isfinite for 8-bit floats
    bad = int((~torch.isfinite(tensor)).sum())
    if not bad or _is_mask(tensor):
        return ""
    nan = int(torch.isnan(tensor).sum())
    return f"{nan:,} NaN and {bad - nan:,} infinite of {tensor.numel():,} values"


def _is_mask(tensor: Tensor) -> bool:
    """Tell whether a tensor is an additive attention mask: only 0 and -inf."""
    return not tensor.is_complex() and bool((torch.isneginf(tensor) | (tensor == 0)).all())


def _some(items: list[str]) -> str:
    more = len(items) - _MAX_TENSORS_SHOWN
    return ", ".join(items[:_MAX_TENSORS_SHOWN]) + (f" and {more} more" if more > 0 else "")
