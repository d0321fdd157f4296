"""Numerical settings of torch while measuring."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import (
    run,
)
from torch import Tensor, nn


def test_products_are_not_rounded_on_a_gpu_while_measuring() -> None:
    def setting() -> tuple[str, ...]:
        cudnn = torch.backends.cudnn
        return tuple(p.fp32_precision for p in (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul))

    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has one switch for all")
    seen = []

    def forward(net: Any, x: Tensor) -> Tensor:
        seen.append(setting())
        return net.head(x)

    before = setting()
    run(Apply(forward, head=nn.Linear(5, CLASSES)).double(), torch.randn(SAMPLES, 5).double())
    assert set(seen) == {("ieee",) * 3}
    assert setting() == before
