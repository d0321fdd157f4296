"""Converts the inputs of samples to tensors, and stacks them to batches.

An input is one tensor, or a tuple or dict of tensors for a model with several arguments.
Floating-point tensors become float32, the usual precision of networks; others keep their type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cohaudit.errors import DataError
from cohaudit.loading.data._names import setting

Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]
"""Arguments of the model: model(x), model(*x) or model(**x)."""

CHANNEL_COUNTS = (1, 3, 4)
"""Sizes of a dimension that can be color channels: grey, RGB, RGBA."""


def as_inputs(value: Any, where: str, remedy: str = "") -> Inputs:
    """Convert one sample's value from a dataset or a transform to tensors on the CPU.

    Args:
        value: A tensor, array or number; or a tuple, list or mapping of these. In a mapping, a list of
            numbers is an array, as a tokenizer returns it.
        where: The sample, for messages.
        remedy: What to do about any other value; by default, to name a transform.

    Raises:
        DataError: If the value is of another type.
    """
    remedy = remedy or f"name a function with {setting('transform')} that turns one raw input into a tensor"
    if isinstance(value, Mapping):
        return {str(key): _as_tensor(_numbers(part), where, remedy) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_as_tensor(part, where, remedy) for part in value)
    return _as_tensor(value, where, remedy)


def _numbers(part: Any) -> Any:
    """Return a list of numbers as an array, and anything else as it is."""
    if not isinstance(part, list):
        return part
    try:
        numbers = np.array(part)
    except ValueError:  # lists of several lengths
        return part
    return numbers if numbers.dtype.kind in "biuf" else part


def _as_tensor(value: Any, where: str, remedy: str) -> torch.Tensor:
    """Return a tensor, array or number as a tensor on the CPU, floating-point ones as float32."""
    if isinstance(value, np.ndarray | np.generic | bool | int | float):
        try:
            # a copy: torch rejects negative strides and warns about read-only memory
            value = torch.from_numpy(np.array(value, order="C"))
        except (TypeError, ValueError) as error:
            raise _not_a_tensor(f"an array of type {np.asarray(value).dtype}", where, remedy) from error
    if not isinstance(value, torch.Tensor):
        module = type(value).__module__.replace("builtins", "")
        name = ".".join(filter(None, [module, type(value).__qualname__]))
        kind = "None" if value is None else f"of type {name}"
        raise _not_a_tensor(kind, where, remedy)
    if value.is_meta or value.is_quantized or value.layout != torch.strided:
        kind = "on the meta device" if value.is_meta else "quantized" if value.is_quantized else "sparse"
        raise DataError(
            where,
            f"the input is a tensor that is {kind}",
            "give a dense tensor of numbers: tensor.to_dense()",
        )
    # a dataset may keep its tensors on a GPU or with gradients; the audit moves each batch itself
    tensor: torch.Tensor = value.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _not_a_tensor(kind: str, where: str, remedy: str) -> DataError:
    return DataError(where, f"the input is {kind}, not a tensor", remedy)


def parts(value: Inputs) -> list[tuple[str, torch.Tensor]]:
    """Return the tensors of an input, each with its name: '' for a single tensor, else position or key."""
    if isinstance(value, torch.Tensor):
        return [("", value)]
    if isinstance(value, tuple):
        return [(str(i), part) for i, part in enumerate(value)]
    return list(value.items())


def equal(a: Inputs, b: Inputs) -> bool:
    """Tell whether two inputs hold the same tensors, bit for bit; NaN equals NaN."""
    return [(name, _content(part)) for name, part in parts(a)] == [
        (name, _content(part)) for name, part in parts(b)
    ]


def content(value: Inputs) -> bytes:
    """Return names, types, shapes and values of an input as bytes to hash; the order of a dict is ignored."""
    # equal dicts may list their keys in different orders, but the positions of a tuple count
    named = sorted(parts(value), key=lambda part: part[0]) if isinstance(value, dict) else parts(value)
    contents = [(name, *_content(part)) for name, part in named]
    return repr([part[:3] for part in contents]).encode() + b"".join(part[3] for part in contents)


def _content(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """Return a tensor's type, shape and bytes; comparing bytes makes NaN equal to NaN."""
    return str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


def stack(samples: Sequence[Inputs], where: Sequence[str]) -> Inputs:
    """Stack the inputs of several samples in a new first dimension.

    Args:
        samples: Inputs of the same structure and shapes, at least one.
        where: Name of each sample, for messages.

    Returns:
        Tensors of shape [len(samples), ...], in the structure of the samples.

    Raises:
        DataError: If the inputs differ in structure, shape or type, or hold NaN or infinity.
    """
    named = [parts(sample) for sample in samples]
    shapes = [[(name, tuple(part.shape), part.dtype) for name, part in sample] for sample in named]
    for row, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DataError(
                where[row],
                f"the input is {_describe(named[row])}, but that of {where[0]} is {_describe(named[0])}",
                "give all inputs the same shape and type: crop, resize or pad them in the transform",
            )
    stacked = {}
    for position, (name, _) in enumerate(named[0]):
        stacked[name] = torch.stack([sample[position][1] for sample in named])
        _check_finite(stacked[name], name, where)
    return _like(samples[0], stacked)


def _describe(named: list[tuple[str, torch.Tensor]]) -> str:
    """Return the shapes and types of an input in words, such as '[1, 8, 8] float32'."""
    return ", ".join(
        f"{name + ': ' if name else ''}{list(part.shape)} {str(part.dtype).removeprefix('torch.')}"
        for name, part in named
    )


def _like(sample: Inputs, stacked: dict[str, torch.Tensor]) -> Inputs:
    """Return stacked tensors in the structure of the samples."""
    if isinstance(sample, torch.Tensor):
        return stacked[""]
    return tuple(stacked.values()) if isinstance(sample, tuple) else stacked


def _check_finite(stacked: torch.Tensor, name: str, where: Sequence[str]) -> None:
    """Raise an error that names the first NaN or infinity of a stacked tensor."""
    if not stacked.is_floating_point() or bool(stacked.isfinite().all()):
        return
    # the first one is enough: a message lists one place to look at
    row, *position = (~stacked.isfinite()).nonzero()[0].tolist()
    value = stacked[(row, *position)].item()
    raise DataError(
        where[row],
        f"the input{' ' + repr(name) if name else ''} holds {value} at position {position}",
        "correct the sample or drop it (infinity can also be a number too large for float32)",
    )
