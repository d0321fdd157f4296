"""How exactly a GPU multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Let NVIDIA's GPUs multiply float32 numbers as such, not rounded to 10 bits (TensorFloat-32).

    For convolutions that rounding is torch's default: errors of 1e-3, where the certificate asks for less.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    settings: list[tuple[Any, str, Any]] = [(cudnn, "allow_tf32", False), (products, "allow_tf32", False)]
    if hasattr(cudnn, "conv"):  # since torch 2.9
        settings = [(part, "fp32_precision", "ieee") for part in (cudnn.conv, cudnn.rnn, products)]
    before = [getattr(part, name) for part, name, _ in settings]
    for part, name, value in settings:
        setattr(part, name, value)
    try:
        yield
    finally:
        for (part, name, _), value in zip(settings, before, strict=True):
            setattr(part, name, value)
