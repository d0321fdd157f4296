"""The loss, its residual and the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.cases import make
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import (
    CPU,
    options,
    oracle,
    run,
    source,
)
from torch import Tensor, nn
from torch.nn import functional as F

from cohaudit.gradients import measure


def test_temperature_scales_the_logits() -> None:
    model, inputs = make("perceptron")
    expected = sum(g.flatten(1).square().sum(1) for g in oracle(model, inputs, temperature=7.0).values())
    np.testing.assert_allclose(run(model, inputs, temperature=7.0).squared_norms.sum(1), expected, rtol=1e-10)


@pytest.mark.parametrize("gain", [30.0, 200.0, 3000.0])
def test_a_fitted_sample_keeps_its_gradient_direction(gain: float) -> None:
    """Where 1 − p_y is far below float32's resolution, direction and loss stay right."""
    model, inputs = make("perceptron", torch.float32)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([0.0, gain, 0.0]))
    labels = np.ones(SAMPLES, dtype=np.int64)
    labels[:2] = [0, 2]
    measured = measure(model, source(inputs, labels), options(), CPU, lambda count: None)
    norms = np.linalg.norm(measured.sketches.astype(np.float64), axis=1)
    assert (norms > 0.1).all()
    logits = model.double()(inputs.double()).detach()
    wrong = torch.logsumexp(logits[2:, [0, 2]], 1) - torch.logsumexp(logits[2:], 1)
    np.testing.assert_allclose(
        measured.loss[2:], np.maximum(np.exp(wrong.numpy()), 1e-300), rtol=1e-3, atol=1e-15
    )


def test_sums_of_gradients_whose_squares_vanish_keep_their_direction() -> None:
    """A class fitted so well that its gradients are 1e-200: no warning, and a sketch that is a number."""
    model, inputs = make("perceptron", torch.float32)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([0.0, 460.0, 0.0]))
    labels = np.ones(SAMPLES, dtype=np.int64)
    labels[:2] = [0, 2]
    measured = measure(model, source(inputs, labels), options(), CPU, lambda count: None)
    assert 0 < measured.scale[2:].max() < 1e-170
    assert np.isfinite(measured.class_squares).all()
    assert np.isfinite(measured.class_gram).all()


def test_binary_logit_is_a_two_class_softmax() -> None:
    torch.manual_seed(0)
    model, inputs = (
        nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double(),
        torch.randn(6, 5).double(),
    )
    labels = np.array([0, 1, 1, 0, 1, 0])
    measured = measure(model, source(inputs, labels, 2), options(), CPU, lambda count: None)
    for i, label in enumerate(labels):
        loss = F.binary_cross_entropy_with_logits(
            model(inputs[i : i + 1])[0, 0], torch.tensor(float(label)).double()
        )
        grads = torch.autograd.grad(loss, list(model.parameters()))
        assert measured.loss[i] == pytest.approx(loss.item(), rel=1e-10)
        assert measured.squared_norms[i].sum() == pytest.approx(
            sum(g.square().sum().item() for g in grads), rel=1e-9
        )


@pytest.mark.parametrize("form", ["dict", "attribute", "tuple"])
def test_logits_are_found_in_structured_outputs(form: str) -> None:
    class Output(dict):
        logits: Tensor

    def forward(net: Any, x: Tensor) -> Any:
        logits = net.head(x)
        if form == "attribute":
            found = Output()
            found.logits = logits
            return found
        return {"logits": logits, "extra": x} if form == "dict" else (logits, x)

    net, inputs = Apply(forward, head=nn.Linear(5, CLASSES)).double(), torch.randn(SAMPLES, 5).double()
    plain = run(net.head, inputs)
    np.testing.assert_allclose(run(net, inputs).squared_norms, plain.squared_norms)
