"""Measuring in bfloat16: how far the norms are off, and the notice about it; float32 is unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import case_gradients, layer_squares, measured_case, run
from support.scanning import scan
from torch import Tensor, nn

import cohaudit
from cohaudit.errors import ConfigError, EngineError, ModelError
from cohaudit.gradients import Measurement
from cohaudit.gradients.engine import Engine
from cohaudit.gradients.passes import measure as measure_module
from cohaudit.gradients.passes import reading
from cohaudit.results.wording import number

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),  # RMSNorm under autocast
]


def errors(measured: Measurement, name: str) -> np.ndarray:
    """Return the relative errors of the samples' norms, against one at a time in float64, [samples]."""
    exact = np.sqrt(layer_squares(measured, case_gradients(name), lambda g: g).sum(1))
    return np.abs(np.sqrt(measured.squared_norms.sum(1)) / exact - 1)


@pytest.mark.parametrize("name", ALL_CASES)
def test_norms_are_off_by_no_more_than_rounding(name: str) -> None:
    measured = measured_case(name, torch.float32, bf16=True)
    off = errors(measured, name)
    assert np.median(off) < 0.005
    assert off.max() < 0.05
    exact = measured_case(name, torch.float32)
    assert [layer.path for layer in measured.layers] == [layer.path for layer in exact.layers]


@pytest.mark.parametrize("name", ["perceptron", "ResNet", "ViT", "GPT"])
def test_the_network_itself_is_rounded(name: str) -> None:
    assert errors(measured_case(name, torch.float32), name).max() < 1e-5
    assert errors(measured_case(name, torch.float32, bf16=True), name).max() > 5e-4


@pytest.mark.parametrize("name", ["perceptron", "LSTM", "activation checkpointing"])
def test_loss_and_predictions_are_not_rounded(name: str) -> None:
    rounded = measured_case(name, torch.float32, bf16=True)
    exact = measured_case(name, torch.float32)
    for field in ("loss", "scale", "margin", "predicted", "probability"):
        np.testing.assert_allclose(getattr(rounded, field), getattr(exact, field), rtol=1e-5)


@pytest.mark.parametrize("name", ["LSTM, two layers, both ways, batch second", "LSTM on packed sequences"])
def test_recurrent_layers_are_not_rounded(name: str) -> None:
    seen = []

    def forward(net: Any, x: Tensor) -> Tensor:
        out = net.rnn(net.body(x))[0]
        seen.append((net.body(x).dtype, out.dtype))
        return net.head(out[:, -1])

    net = Apply(forward, body=nn.Linear(5, 5), rnn=nn.GRU(5, 4, batch_first=True), head=nn.Linear(4, CLASSES))
    run(net.eval(), torch.randn(SAMPLES, 4, 5), bf16=True)
    assert (torch.bfloat16, torch.float32) in seen
    assert measured_case(name, torch.float32, bf16=True).certificate.checks


def test_label_free_sketches_are_near_those_of_float32() -> None:
    model, inputs = make("ResNet", torch.float32)
    rounded, exact = (run(model, inputs, label_free=True, bf16=flag) for flag in (True, False))
    assert rounded.jacobian_sketches is not None
    assert exact.jacobian_sketches is not None
    size = np.linalg.norm(exact.jacobian_sketches, axis=1)
    off = np.linalg.norm(rounded.jacobian_sketches - exact.jacobian_sketches, axis=1) / size
    assert np.median(off) < 0.02


def test_a_notice_states_the_error_and_float32_has_none() -> None:
    model, inputs = make("ResNet", torch.float32)
    assert run(model, inputs).notices == ()
    measured = run(model, inputs, bf16=True)
    checks = {check.name: check for check in measured.certificate.checks}
    median = checks["the run's norms, median of the samples"]
    assert 1e-4 < median.error < 0.01
    assert median.tolerance == 0.05
    assert f"off by {number(100 * median.error)}% (median)" in measured.notices[0]
    # the median of the one to three samples that a run in float32 is checked on would say little
    assert "on 8 samples" in measured.notices[0]
    assert run(model, inputs, bf16=True, certificate_samples=1).certificate.samples == 8
    # what bfloat16 does not change has the same tolerances as before
    exact = {check.name: check.tolerance for check in run(model, inputs).certificate.checks}
    assert all(checks[name].tolerance == exact[name] for name in list(exact)[:3])


def test_more_than_rounding_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron", torch.float32)
    right = Engine.run

    def wrong(self: Engine, *args: Any) -> Any:
        outcome = right(self, *args)
        outcome.residuals.scale.mul_(1.1 if self.bf16 else 1)
        return outcome

    monkeypatch.setattr(Engine, "run", wrong)
    failed = r"certificate failed: the run's norms, median of the samples: .*5\n.*measure without --bf16"
    with pytest.raises(EngineError, match=failed):
        run(model, inputs, bf16=True)


def test_a_lost_class_stops_a_run_in_bf16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron", torch.float32)
    right = reading.split_by_class
    monkeypatch.setattr(
        measure_module,
        "split_by_class",
        lambda labels, scale, like: right(labels, torch.where(labels == 1, 0, scale), like),
    )
    with pytest.raises(EngineError, match="certificate failed: class sums"):
        run(model, inputs, bf16=True)


def test_a_model_that_autocast_breaks_is_refused() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        table = x.new_zeros(len(x), CLASSES)
        table[torch.arange(len(x))] = net.head(x)  # of two types under autocast
        return table

    net = Apply(forward, head=nn.Linear(5, CLASSES))
    inputs = torch.randn(SAMPLES, 5)
    assert run(net, inputs).certificate.checks
    with pytest.raises(ModelError, match="--bf16: the model fails under torch's autocast"):
        run(net, inputs, bf16=True)


@pytest.mark.slow
def test_the_digits_get_the_same_verdicts(digits: Path, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--audits", "none")
    result = scan(digits / "model.safetensors", "--bf16", *options, "--out", tmp_path / "bf16")
    assert result.exit_code == 0, result.output
    assert "bf16: in the worst layer, gradient norms are off by" in " ".join(result.output.split())
    assert scan(digits / "model.safetensors", *options, "--out", tmp_path / "exact").exit_code == 0
    rounded, exact = (cohaudit.read_audit(tmp_path / name / "audit.json") for name in ("bf16", "exact"))
    assert rounded.settings["bf16"] is True
    assert "off by" in (tmp_path / "bf16/report.html").read_text("utf-8")
    assert (rounded.samples["suspect"] == exact.samples["suspect"]).mean() > 0.99
    np.testing.assert_array_equal(rounded.samples["loss"], exact.samples["loss"])


def test_a_wrong_value_is_refused(digits: Path, tmp_path: Path) -> None:
    file = tmp_path / "cohaudit.toml"
    file.write_text('bf16 = "yes"\n', encoding="utf-8")
    result = scan(digits / "model.safetensors", "--config", file)
    assert result.exit_code == 2
    assert "bf16: found 'yes', a text" in result.output
    assert "give true or false" in result.output
    with pytest.raises(ConfigError, match="bf16: found 16"):
        cohaudit.Config(bf16=16)  # type: ignore[arg-type]  # that is what is tested
