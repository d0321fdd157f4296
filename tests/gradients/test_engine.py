"""The engine leaves the model as it found it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.cases import make
from support.oracle import (
    run,
)
from torch import nn

from cohaudit.gradients.forms.dense import Dense


def state(model: nn.Module) -> Any:
    tensors = {
        n: (t.clone(), t.requires_grad, t.grad)
        for n, t in [*model.named_parameters(), *model.named_buffers()]
    }
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    return tensors, hooks, [m.training for m in model.modules()], torch.get_rng_state()


def assert_same_state(before: Any, after: Any) -> None:
    for (name, (tensor, flag, grad)), (other, flag_after, grad_after) in zip(
        before[0].items(), list(after[0].values()), strict=True
    ):
        assert torch.equal(tensor, other), name
        assert flag == flag_after
        assert grad is None
        assert grad_after is None
    assert before[1:3] == after[1:3]
    assert torch.equal(before[3], after[3])


@pytest.mark.parametrize(
    "name", ["residual with in-place addition", "frozen first layer", "parametrized weight", "LSTM"]
)
def test_the_model_is_left_as_it_was(name: str) -> None:
    model, inputs = make(name)
    before = state(model)
    run(model, inputs)
    assert_same_state(before, state(model))


def test_the_model_is_left_as_it_was_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    before = state(model)
    monkeypatch.setattr(Dense, "squared_norms", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(model, inputs)
    monkeypatch.undo()
    assert_same_state(before, state(model))
