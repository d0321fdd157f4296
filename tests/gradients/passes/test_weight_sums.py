"""Sums of every weight against autograd, one sample at a time, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import CLASSES, SAMPLES
from support.oracle import CPU, LABELS, case_gradients, options, source

from cohaudit.gradients import WeightSums, weight_sums

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


def sums(name: str, dtype: torch.dtype = torch.float64, **changes: int) -> WeightSums:
    model, inputs = make(name, dtype)
    return weight_sums(model, source(inputs), options(**changes), CPU, lambda count: None)


@pytest.mark.parametrize("name", ALL_CASES)
def test_sums_of_every_weight_are_those_of_autograd(name: str) -> None:
    found = sums(name)
    grads = case_gradients(name)
    assert found.samples == SAMPLES
    assert set(found.mean) == set(grads) == set(found.layer_of)
    largest = max(float(each.abs().max()) for each in grads.values())
    for parameter, each in grads.items():
        classes = torch.stack([each[c == LABELS].sum(0) for c in range(CLASSES)])
        rows = classes.square().sum(0).reshape(*each.shape[1:2] or (1,), -1).sum(1)
        expected = each.mean(0), each.square().mean(0), rows
        measured = found.mean[parameter], found.mean_square[parameter], found.class_squares[parameter]
        for one, other, power in zip(measured, expected, (1, 2, 2), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12 * largest**power)


@pytest.mark.parametrize("name", ["perceptron", "conv2d", "embedding with a padding row", "LSTM"])
def test_batches_change_nothing(name: str) -> None:
    whole, single = sums(name, batch_size=SAMPLES), sums(name, batch_size=2)
    for parameter, one in whole.class_squares.items():
        torch.testing.assert_close(one, single.class_squares[parameter], rtol=1e-9, atol=1e-20)
        torch.testing.assert_close(whole.mean_square[parameter], single.mean_square[parameter])


def test_float32_is_as_good_as_it_can_be() -> None:
    wide, narrow = sums("conv2d"), sums("conv2d", torch.float32)
    for parameter, one in wide.mean_square.items():
        torch.testing.assert_close(narrow.mean_square[parameter], one, rtol=1e-4, atol=1e-8)


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = make("perceptron")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    done: list[int] = []
    weight_sums(model, source(inputs), options(batch_size=4), CPU, done.append)
    assert sum(done) == SAMPLES
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        np.testing.assert_array_equal(parameter.detach(), before[name])
