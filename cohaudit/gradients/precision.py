"""How exactly a GPU multiplies, and what is rounded to bfloat16 where the user allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

TINY = float(np.finfo(float).tiny)
"""Smallest normal float64: keeps a division by a zero norm finite."""
BF16_ROUNDING = torch.finfo(torch.bfloat16).eps

TF32_ROUNDING = 2.0**-10
"""That of `rounded_products`."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Let NVIDIA's GPUs multiply float32 numbers as such, not rounded to 10 bits (TensorFloat-32).

    For convolutions that rounding is torch's default: errors of 1e-3, where the certificate asks for less.
    """
    with _products(rounded=False):
        yield


def rounded_products(wanted: bool) -> AbstractContextManager[None]:
    """Let them be rounded, if that is wanted: it is faster, and changes little beside bfloat16's 8 bits."""
    return _products(rounded=True) if wanted else nullcontext()


@contextmanager
def _products(rounded: bool) -> Iterator[None]:
    cudnn = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    settings: list[tuple[Any, str, Any]] = [(part, "allow_tf32", rounded) for part in (cudnn, products)]
    if hasattr(cudnn, "conv"):  # since torch 2.9
        value = "tf32" if rounded else "ieee"
        settings = [(part, "fp32_precision", value) for part in (cudnn.conv, cudnn.rnn, products)]
    with _set(settings):
        yield


@contextmanager
def _set(settings: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes, and set them back in the end."""
    before = [getattr(part, name) for part, name, _ in settings]
    for part, name, value in settings:
        setattr(part, name, value)
    try:
        yield
    finally:
        for (part, name, _), value in zip(settings, before, strict=True):
            setattr(part, name, value)


def backward_in_eval_mode(model: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Let a model be differentiated as it is: cuDNN's recurrent layers have a backward pass in training only.

    Without cuDNN torch takes its own kernels, for convolutions too; that costs only a model that has both.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return _set([(torch.backends.cudnn, "enabled", False)] if recurrent and device.type == "cuda" else [])


def autocast(device: torch.device, wanted: bool) -> AbstractContextManager[Any]:
    """Let the operations that bear it round their float32 arguments to bfloat16, if that is wanted."""
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Within `autocast`, let nothing be rounded."""
    return torch.autocast(device.type, enabled=False)
