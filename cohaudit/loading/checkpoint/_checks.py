"""Checks that tensors can be used as weights."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cohaudit.errors import CheckpointError, CohauditError, printable

_SAVE_WEIGHTS_ONLY = "save only the weights: torch.save(model.state_dict(), 'weights.pt')"
"""Remedy for an optimizer's state that cannot be used."""
_LARGEST_FLOAT = int(sys.float_info.max)
"""Largest integer that is a float too."""
_LARGEST_WEIGHT = 1e150
"""Largest weight whose norm can be computed in float64."""
_LONGEST_KEY = 30
"""Characters of a key to show."""
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


def check_usable(
    tensors: Mapping[str, Tensor], where: str, refuse: type[CohauditError] = CheckpointError
) -> None:
    """Raise an error if a checkpoint has no tensors, or tensors that are not plain arrays of numbers.

    Args:
        tensors: Name → weights, of any shape.
        where: The file, for messages.
        refuse: Class of the error.

    Raises:
        CohauditError: An error of class `refuse`, if there is no tensor, or one has an unprintable name, no
            data, or a packed layout.
    """
    if not tensors:
        raise refuse(where, "holds no tensors", "name the file that holds the model's weights")
    for name, tensor in tensors.items():
        # an escape sequence in a name would otherwise reach the terminal with the first message
        if not name.isprintable():
            raise refuse(
                where,
                f"the name of a tensor cannot be printed: {name!a}",
                "get the file again from its source: training code does not write such names",
            )
        if reason := _not_plain(tensor):
            raise refuse(where, f"{name} is {reason}", "save ordinary dense tensors of floats")


def check_optimizer(optimizer: Mapping[str, Any], where: str) -> None:
    """Raise an error if an optimizer's state holds numbers that no optimizer has.

    Args:
        optimizer: State dict of the optimizer.
        where: The checkpoint, for messages.

    Raises:
        CheckpointError: If a number is beyond the range of a float, or a tensor has no values.
    """
    for name, value in _leaves(optimizer, "optimizer"):
        reason = ""
        if isinstance(value, Tensor) and value.is_meta:
            reason = "on the meta device, which holds no values"
        elif type(value) is int and abs(value) > _LARGEST_FLOAT:
            reason = f"an integer of {value.bit_length():,} bits, beyond the range of a number"
        if reason:
            raise CheckpointError(where, f"{name} is {reason}", _SAVE_WEIGHTS_ONLY)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what is in nested containers, each with the names of the keys that lead to it."""
    waiting = [(name, value)]
    # what is shared is looked at once: a file can share containers so that the paths to them have no end
    seen = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting.extend((f"{name}.{_key(key)}", entry) for key, entry in entries)
        else:
            yield name, value


def _key(key: Any) -> str:
    # the text of an integer of any length, or of nested tuples, can take for ever
    is_short = isinstance(key, str) or (type(key) is int and abs(key) <= _LARGEST_FLOAT)
    return printable(str(key), _LONGEST_KEY) if is_short else type(key).__name__


def _not_plain(tensor: Tensor) -> str:
    """Say what a tensor is instead of a dense array; '' if it is one."""
    if tensor.is_meta:
        return "on the meta device, which holds no values"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return f"sparse ({tensor.layout})"
    if not can_compute(tensor.dtype):
        return f"of a type that torch stores but cannot compute with ({tensor.dtype})"
    # NaN fails the comparison, and is counted where it matters
    if tensor.dtype == torch.float64 and tensor.numel() and bool((tensor.abs() > _LARGEST_WEIGHT).any()):
        finite = tensor[torch.isfinite(tensor)].abs()
        if finite.numel() and float(finite.max()) > _LARGEST_WEIGHT:
            return (
                f"of numbers up to {float(finite.max()):.0e}, whose squares are beyond the range of a float"
            )
    return ""


@cache
def can_compute(dtype: torch.dtype) -> bool:
    """Tell whether torch can compute with numbers of a type; some it only stores.

    Args:
        dtype: The type.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # half-precision complex numbers are called experimental
        try:
            torch.empty(1, dtype=dtype).to(torch.complex128)
        except (RuntimeError, TypeError):  # four bits a number, for example
            return False
    return True


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
