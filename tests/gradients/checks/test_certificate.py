"""The certificate stops runs that are wrong, and accepts rounding."""

from __future__ import annotations

import pytest
import torch
from support.cases import make
from support.networks import CLASSES, SAMPLES
from support.oracle import (
    run,
)
from torch import Tensor, nn

from cohaudit.errors import EngineError
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Outer
from cohaudit.gradients.passes import measure as measure_module
from cohaudit.gradients.passes import reading


def test_the_certificate_stops_a_run_whose_norms_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    monkeypatch.setattr(
        Outer,
        "squared_norms",
        lambda self: 1.01 * self.b.square().sum((1, 2)) * self.a.square().sum((1, 2)),
    )
    with pytest.raises(EngineError, match=r"layer \d: certificate failed: norms, one sample at a time"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_sums_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    right = Dense.weighted_sum
    monkeypatch.setattr(Dense, "weighted_sum", lambda self, weights: 1.01 * right(self, weights))
    with pytest.raises(EngineError, match="certificate failed: gradient sum"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_dots_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    right = Outer.dot
    monkeypatch.setattr(Outer, "dot", lambda self, direction: 1.01 * right(self, direction))
    with pytest.raises(EngineError, match="certificate failed: identity"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_batches_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right for one sample alone, wrong in a batch: seen in what the run recorded."""
    model, inputs = make("perceptron")
    right = Outer.squared_norms
    monkeypatch.setattr(Outer, "squared_norms", lambda self: right(self).flip(0))
    with pytest.raises(EngineError, match="certificate failed: the run's norms"):
        run(model, inputs, certificate_samples=9)


@pytest.mark.parametrize(
    "damage", ["a class is lost", "a class counts twice", "sketches of the wrong samples"]
)
def test_the_certificate_stops_a_run_whose_class_sums_are_off(
    damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = make("perceptron")
    right = reading.split_by_class

    def wrong(labels: Tensor, scale: Tensor, like: Tensor) -> list[reading.ClassSlice]:
        if damage == "a class is lost":
            scale = torch.where(labels == 1, 0, scale)
        elif damage == "a class counts twice":
            scale = torch.where(labels == 1, 2 * scale, scale)
        else:
            scale = scale.flip(0)
        return right(labels, scale, like)

    monkeypatch.setattr(measure_module, "split_by_class", wrong)
    with pytest.raises(EngineError, match="certificate failed: class sums"):
        run(model, inputs)


def test_sixteen_bit_weights_are_certified() -> None:
    """With rounding of their size, and not taken for a bug."""
    model, inputs = make("ResNet", torch.float32)
    measured = run(model.bfloat16(), inputs.bfloat16())
    assert all(check.error <= check.tolerance for check in measured.certificate.checks)
    assert max(check.error for check in measured.certificate.checks) > 1e-4


def test_a_layer_without_gradient_is_certified() -> None:
    """A bias before InstanceNorm changes nothing: its gradient is the rounding of others'."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4), nn.Tanh(), nn.Flatten(), nn.LazyLinear(CLASSES)
    ).eval()
    inputs = torch.randn(SAMPLES, 2, 6, 6)
    net(inputs)
    assert [layer.path for layer in run(net, inputs).layers] == ["closed form", "closed form"]
