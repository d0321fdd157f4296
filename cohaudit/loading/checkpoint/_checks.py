"""What has to hold of tensors before they can be used as weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cohaudit.errors import CheckpointError

_SHOWN = 3


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Stop when weights are NaN or infinite: such a model has no gradients to audit.

    A tensor of only 0 and -inf passes: that is an additive attention mask, infinite by design.

    Args:
        tensors: Name → weights, of any shape.
        where: The checkpoint they come from, for messages.

    Raises:
        CheckpointError: Naming each bad tensor and how many of its values are bad.
    """
    bad = [f"{name} ({found})" for name, tensor in tensors.items() if (found := _not_finite(tensor))]
    if bad:
        raise CheckpointError(
            where,
            f"{len(bad)} of {len(tensors)} tensors have values that are no numbers: {_some(bad)}",
            "audit an earlier checkpoint: the training diverged, or the file was damaged",
        )


def check_usable(tensors: Mapping[str, Tensor], where: str) -> None:
    """Stop when a checkpoint has no tensors, or some that are no plain arrays of numbers.

    Args:
        tensors: Name → weights, of any shape.
        where: The checkpoint they come from, for messages.

    Raises:
        CheckpointError: If there are none, or one has an unprintable name, no data, or a packed layout.
    """
    if not tensors:
        raise CheckpointError(where, "no tensors in it", "name the file that holds the model's weights")
    for name, tensor in tensors.items():
        # an escape sequence in a name would otherwise reach the terminal with the first message
        if not name.isprintable():
            raise CheckpointError(
                where, f"a tensor is named {name!a}", "get the file again; no training code writes that"
            )
        if reason := _not_plain(tensor):
            raise CheckpointError(
                where, f"{name} is {reason}", "save the weights as ordinary dense float tensors"
            )


def printable(text: object) -> str:
    """Return a text with what a file could have put into it to steer a terminal written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def _not_plain(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "on the meta device, a shape without values"
    if tensor.is_quantized:
        return "quantized"
    return "" if tensor.layout == torch.strided else f"sparse ({tensor.layout})"


def _not_finite(tensor: Tensor) -> str:
    """Return what is wrong with the values, in words; empty when nothing is."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return ""
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.float()  # the 8-bit floats lack these operations
    bad = int((~torch.isfinite(tensor)).sum())
    if not bad or _is_mask(tensor):
        return ""
    nan = int(torch.isnan(tensor).sum())
    return f"{nan:,} NaN and {bad - nan:,} infinite of {tensor.numel():,} values"


def _is_mask(tensor: Tensor) -> bool:
    return not tensor.is_complex() and bool((torch.isneginf(tensor) | (tensor == 0)).all())


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
