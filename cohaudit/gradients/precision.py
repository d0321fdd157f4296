"""Numerical precision: how exactly a GPU multiplies, and what bfloat16 rounds if the user allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

SMALLEST_FLOAT64 = float(np.finfo(float).tiny)
"""Smallest normal float64. A denominator is at least this, so that a division by a zero norm stays finite; a
subnormal one would overflow."""

SQUARE_ROOT_OF_SMALLEST_FLOAT64 = float(np.sqrt(SMALLEST_FLOAT64))
"""Numbers below this have a square that is zero in float64."""

BF16_ROUNDING = torch.finfo(torch.bfloat16).eps
"""Relative distance of neighboring bfloat16 numbers, 2⁻⁷."""

TF32_ROUNDING = 2.0**-10
"""Relative distance of neighboring TensorFloat-32 numbers, to which `rounded_products` rounds factors."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Let NVIDIA's GPUs multiply float32 numbers without rounding them to 10 bits (TensorFloat-32).

    For convolutions that rounding is torch's default. It makes errors of about 1e-3, more than the
    certificate accepts.
    """
    with _products(rounded=False):
        yield


def rounded_products(wanted: bool) -> AbstractContextManager[None]:
    """Let a GPU round float32 factors to 10 bits, if wanted.

    That is faster, and a small error beside the 8 bits of bfloat16.
    """
    return _products(rounded=True) if wanted else nullcontext()


@contextmanager
def _products(rounded: bool) -> Iterator[None]:
    cudnn = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    # torch refuses to mix the old switches with the new ones, so only one kind is set
    settings: list[tuple[Any, str, Any]] = [(part, "allow_tf32", rounded) for part in (cudnn, products)]
    if hasattr(cudnn, "conv"):  # since torch 2.9
        value = "tf32" if rounded else "ieee"
        settings = [(part, "fp32_precision", value) for part in (cudnn.conv, cudnn.rnn, products)]
    with _set(settings):
        yield


@contextmanager
def _set(settings: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes within the block, and restore them at its end, also on error."""
    before = [getattr(part, name) for part, name, _ in settings]
    for part, name, value in settings:
        setattr(part, name, value)
    try:
        yield
    finally:
        for (part, name, _), value in zip(settings, before, strict=True):
            setattr(part, name, value)


def backward_in_eval_mode(model: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Let a model in eval mode be differentiated on a GPU.

    cuDNN's recurrent layers have a backward pass in training mode only. Without cuDNN torch uses its own
    kernels, for convolutions too, so cuDNN is turned off only for a model with recurrent layers.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return _set([(torch.backends.cudnn, "enabled", False)] if recurrent and device.type == "cuda" else [])


def autocast(device: torch.device, wanted: bool) -> AbstractContextManager[Any]:
    """Let operations that tolerate it round their float32 arguments to bfloat16, if wanted."""
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Turn rounding off within `autocast`."""
    return torch.autocast(device.type, enabled=False)


def sum_device(parameter: torch.Tensor) -> torch.device:
    """Return the device on which sums of a parameter's gradients are held in float64.

    It is that of the parameter, but the CPU for Apple's GPUs, which have no float64.
    """
    return torch.device("cpu") if parameter.device.type == "mps" else parameter.device


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on Apple's GPUs, which have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
