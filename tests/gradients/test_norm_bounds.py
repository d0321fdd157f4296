"""Bounds of gradients' norms by the pass that sums, against plain autograd, one sample at a time."""

from __future__ import annotations

import numpy as np
import torch
from support.networks import CLASSES, SAMPLES
from support.oracle import CPU, options, oracle, source
from torch import Tensor, nn

from cohaudit.gradients import observe


def bounds_and_norms(model: nn.Module, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds, [samples], and the norms of the gradients of all matrices and filters, [samples]."""
    seen = observe(model, source(inputs), options(batch_size=2), CPU, lambda count: None, sums=True)
    squares = sum(g.flatten(1).square().sum(1) for g in oracle(model, inputs).values() if g.ndim > 2)
    assert isinstance(squares, Tensor)
    return seen.forward.bound, squares.sqrt().numpy()


def test_of_layers_on_rows_the_bound_is_the_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double().eval()
    bound, norms = bounds_and_norms(model, torch.randn(SAMPLES, 6).double())
    np.testing.assert_allclose(bound, norms, rtol=1e-9)


def test_in_float32_it_is_the_same_but_for_samples_without_a_share() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES)).eval()
    model[2].weight.data *= 300
    inputs = torch.randn(SAMPLES, 6)
    bound, _ = bounds_and_norms(model, inputs)
    double, _ = bounds_and_norms(model.double(), inputs.double())
    # a sample that is fitted far better than another of its batch has no share in any sum
    large = double > 1e-15 * double.max()
    assert large.any()
    assert (~large).any()
    np.testing.assert_allclose(bound[large], double[large], rtol=1e-2)


def test_of_filters_it_is_above_the_norm_but_for_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, CLASSES),
    )
    bound, norms = bounds_and_norms(model.double().eval(), torch.randn(SAMPLES, 1, 8, 8).double())
    assert (norms <= bound).all()
    # every position of an input is used nine times at most
    assert (bound <= 40 * norms).all()


def test_without_sums_there_is_none() -> None:
    model = nn.Sequential(nn.Linear(6, CLASSES)).eval()
    seen = observe(model, source(torch.randn(SAMPLES, 6)), options(), CPU, lambda count: None, sums=False)
    assert not seen.forward.bound.any()
