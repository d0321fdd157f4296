"""The engine on a GPU: every network against plain autograd there, and a whole scan against that of a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.networks import CASES, make
from support.oracle import assert_exact, layer_squares, oracle, run
from support.scanning import scan
from torch import nn
from torch.utils import _pytree as pytree

import cohaudit
from cohaudit.gradients import Measurement
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision

DEVICE = torch.device("cuda")

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
]


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    with full_precision():
        yield


def on_gpu(name: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    model, inputs = make(name, dtype)
    return model.to(DEVICE), pytree.tree_map(lambda t: t.to(DEVICE), inputs)


def measured_there(name: str, dtype: torch.dtype, **changed: Any) -> tuple[Measurement, dict[str, Any]]:
    """Return what the engine measures on the GPU, and the gradients by plain autograd there."""
    model, inputs = on_gpu(name, dtype)
    found = run(model, pytree.tree_map(lambda t: t.cpu(), inputs), **changed)
    with backward_in_eval_mode(model, DEVICE):
        return found, oracle(model, inputs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", CASES)
def test_norms_and_sums_are_those_of_autograd(name: str, dtype: torch.dtype, tolerance: float) -> None:
    assert_exact(*measured_there(name, dtype), tolerance)


@pytest.mark.parametrize("name", CASES)
def test_norms_in_bf16_are_off_by_no_more_than_rounding(name: str) -> None:
    found, grads = measured_there(name, torch.float32, bf16=True)
    exact = np.sqrt(layer_squares(found, grads, lambda g: g).sum(1))
    off = np.abs(np.sqrt(found.squared_norms.sum(1)) / exact - 1)
    assert np.median(off) < 0.01
    assert off.max() < 0.1
    assert "off by" in found.notices[0]


@pytest.mark.parametrize("name", CASES)
def test_a_gpu_measures_what_a_cpu_measures(name: str) -> None:
    there = run(on_gpu(name, torch.float64)[0], make(name)[1], label_free=True)
    here = run(*make(name), label_free=True)
    np.testing.assert_allclose(there.sketches, here.sketches, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(there.jacobian_sketches, here.jacobian_sketches, rtol=1e-4, atol=1e-5)
    # NVIDIA's kernel of weight_norm is right to 1e-8 in float64
    np.testing.assert_allclose(there.loss, here.loss, rtol=1e-7)
    for view, expected in zip(there.views, here.views, strict=True):
        np.testing.assert_allclose(view.rows, expected.rows, rtol=1e-4, atol=1e-6)
    if name != "LSTM with projections":  # whose cell is one operation on a GPU
        assert there.layers == here.layers


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
