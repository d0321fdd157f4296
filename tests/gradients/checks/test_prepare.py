"""Models that do not fit their data, or that cannot be measured, are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.cases import make
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import (
    oracle,
    refusal,
    run,
)
from torch import Tensor, nn
from torch.nn import functional as F

from cohaudit.errors import ModelError
from cohaudit.gradients.forms import functions
from cohaudit.gradients.forms.dense import Dense


def test_a_wrong_closed_form_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose formula is off by more than rounding is measured by the loop instead."""
    model, inputs = make("perceptron")

    def zero(g: Tensor, *, input: Tensor, weight: Tensor, bias: Tensor) -> functions.Gradients:
        return [(weight, Dense(torch.zeros(len(input), *weight.shape).double())), (bias, Dense(g))]

    monkeypatch.setitem(functions.CLOSED_FORMS, F.linear, functions.ClosedForm(zero))
    measured = run(model, inputs)
    assert {layer.path for layer in measured.layers} == {"loop"}
    expected = sum(g.flatten(1).square().sum(1) for g in oracle(model, inputs).values())
    np.testing.assert_allclose(measured.squared_norms.sum(1), expected, rtol=1e-10)


def test_wrong_number_of_classes_is_refused() -> None:
    net = nn.Linear(5, 7)
    message = refusal(net, torch.randn(SAMPLES, 5).double(), ModelError)
    assert "7 classes, the data has 3: c0, c1, c2" in message


def test_inputs_that_do_not_fit_are_refused() -> None:
    message = refusal(nn.Linear(4, CLASSES), torch.randn(SAMPLES, 5).double(), ModelError)
    assert "inputs of shape [3, 5]:" in message


def test_outputs_that_are_no_logits_are_refused() -> None:
    net = Apply(lambda n, x: n.head(x)[:, :, None], head=nn.Linear(5, CLASSES))
    assert "not logits [batch, classes]" in refusal(net, torch.randn(SAMPLES, 5).double())


def test_all_frozen_is_refused() -> None:
    assert "trainable" in refusal(
        nn.Linear(5, CLASSES).requires_grad_(False), torch.randn(SAMPLES, 5).double()
    )


def test_overflow_names_the_sample() -> None:
    inputs = torch.randn(SAMPLES, 5).double()
    inputs[4] = 1e300
    assert refusal(nn.Sequential(nn.Linear(5, 5), nn.Linear(5, CLASSES)), inputs).startswith("sample s4: ")


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_an_embedding_whose_gradient_depends_on_the_batch_is_refused_by_name(kind: Any) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        found = net.table(x)
        return net.head(found if found.ndim == 2 else found.mean(1))

    model = Apply(forward, table=kind(9, 4, scale_grad_by_freq=True), head=nn.Linear(4, CLASSES)).double()
    message = refusal(model, torch.arange(SAMPLES * 2).reshape(SAMPLES, 2) % 9)
    assert message.startswith("layer table: scale_grad_by_freq=True")
    assert "scale_grad_by_freq=False" in message
