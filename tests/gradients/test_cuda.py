"""The engine on a GPU: against plain autograd there, and a whole scan against one on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.cases import make
from support.oracle import TWO_BATCHES, assert_exact, layer_squares, measured_case, oracle, run
from support.scanning import scan
from torch import nn
from torch.utils import _pytree as pytree

import cohaudit
from cohaudit.gradients import Measurement
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision

DEVICE = torch.device("cuda")

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
]


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    with full_precision():
        yield


NETWORKS = (
    # outer products: matrix products in TensorFloat-32 unless turned off
    "perceptron",
    # cuDNN's convolutions; an accelerator unfolds the input, in larger pieces
    "conv2d",
    # grouped and dilated: torch uses other kernels, and sketches go through whole gradients
    "conv2d grouped",
    # running statistics, changes in place and strides
    "ResNet",
    # lookups and outer products of one parameter: scatter and index_add add up in any order on a GPU
    "embedding tied to the head",
    # unrolled, with cuDNN turned off for the backward pass in eval mode
    "LSTM, two layers, both ways, batch second",
    # a single operation on a GPU, so that it takes another path than on a CPU
    "LSTM with projections",
    # the loop, through torch's own recurrent kernels
    "LSTM on packed sequences",
    # fused attention, bare parameters through vmap, views of a packed projection
    "ViT",
    # causal fused attention, a tied head and shared positions
    "GPT",
    # NVIDIA's kernel of weight_norm behind a derived weight
    "parametrized weight",
    # the loop over a block that runs again, under autocast, in the backward pass
    "activation checkpointing",
)
"""One network for each path or kernel that is different on a GPU; the CPU tests measure all others."""


def on_gpu(name: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    model, inputs = make(name, dtype)
    return model.to(DEVICE), pytree.tree_map(lambda t: t.to(DEVICE), inputs)


def measured_there(name: str, dtype: torch.dtype, **changed: Any) -> tuple[Measurement, dict[str, Any]]:
    """Return what the engine measures on the GPU, and the gradients by plain autograd there."""
    model, inputs = on_gpu(name, dtype)
    measured = run(model, pytree.tree_map(lambda t: t.cpu(), inputs), **changed)
    with backward_in_eval_mode(model, DEVICE):
        return measured, oracle(model, inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_gpu_measures_what_autograd_and_a_cpu_do(name: str) -> None:
    there, gradients = measured_there(name, torch.float64, label_free=True, **TWO_BATCHES)
    assert_exact(there, gradients, 1e-10)
    assert_same_as_on_a_cpu(name, there)
    assert_exact(*measured_there(name, torch.float32, **TWO_BATCHES), 1e-4)
    assert_rounded_to_bf16(*measured_there(name, torch.float32, bf16=True))


def assert_same_as_on_a_cpu(name: str, there: Measurement) -> None:
    here = measured_case(name)
    np.testing.assert_allclose(there.sketches, here.sketches, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(there.jacobian_sketches, here.jacobian_sketches, rtol=1e-4, atol=1e-5)
    # NVIDIA's kernel of weight_norm is right to 1e-8 in float64
    np.testing.assert_allclose(there.loss, here.loss, rtol=1e-7)
    for view, expected in zip(there.views, here.views, strict=True):
        np.testing.assert_allclose(view.rows, expected.rows, rtol=1e-4, atol=1e-6)
    if name != "LSTM with projections":
        assert there.layers == here.layers


def assert_rounded_to_bf16(measured: Measurement, gradients: dict[str, Any]) -> None:
    exact = np.sqrt(layer_squares(measured, gradients, lambda g: g).sum(1))
    off = np.abs(np.sqrt(measured.squared_norms.sum(1)) / exact - 1)
    assert np.median(off) < 0.01
    assert off.max() < 0.1
    assert "off by" in measured.notices[0]


def test_settings_of_cudnn_are_left_as_they_were() -> None:
    seen = []
    model, inputs = on_gpu("LSTM", torch.float32)
    model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    run(model, inputs.cpu())
    assert not any(seen)
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("options", [(), ("--bf16",)])
def test_the_digits_are_judged_as_on_a_cpu(digits: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    def judged(name: str, *options: str) -> pd.DataFrame:
        result = scan(digits / "model.safetensors", "--out", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
        return cohaudit.read_audit(tmp_path / name / "audit.json").samples

    there, here = judged("there", "--device", DEVICE.type, *options), judged("here", "--device", "cpu")
    flipped = pd.read_csv(digits / "truth.csv")["flipped"] == 1
    scores = [roc_auc_score(flipped, table["suspicion"]) for table in (there, here)]
    assert abs(scores[0] - scores[1]) < 2e-3
    assert (here["suspect"] != there["suspect"]).sum() <= 3
    # products of float32 numbers are rounded to 10 bits only where bf16 allows it
    np.testing.assert_allclose(there["loss"], here["loss"], rtol=0.1 if options else 1e-3, atol=1e-9)
