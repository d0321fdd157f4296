"""The draws and estimates of `benchmarks.gradients.energy`, beside what they must be on average."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.gradients.energy import Exact, backward_bounds, estimate, inclusion, systematic


def test_probabilities_sum_to_the_number_drawn_and_no_sample_comes_twice() -> None:
    sizes = np.array([100.0, 50.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.0])
    probability = inclusion(sizes / sizes.sum(), 4)
    np.testing.assert_allclose(probability, [1, 1, 0.75, 0.5, 0.25, 0.25, 0.25, 0])
    generator = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(4000):
        drawn = systematic(probability, np.arange(8), generator)
        assert len(drawn) == len(set(drawn)) == 4
        counts[drawn] += 1
    np.testing.assert_allclose(counts / 4000, probability, atol=0.03)


def test_estimates_are_unbiased() -> None:
    generator = np.random.default_rng(1)
    residual = generator.exponential(size=60)
    squares = residual[:, None] * generator.uniform(0.5, 2, (60, 3))
    exact = Exact(squares, residual, residual[:, None], np.repeat(np.arange(3), 20), 3)
    probability = inclusion(residual / residual.sum(), 15)
    found = []
    errors = []
    for _ in range(3000):
        energy, error = estimate(exact, probability, systematic(probability, np.arange(60), generator))
        found.append(energy)
        errors.append(error)
    truth = exact.by_class(squares)
    np.testing.assert_allclose(np.mean(found, axis=0), truth, rtol=0.03)
    spread = np.std([energy.sum() for energy in found])
    assert 0.7 < np.mean(errors) / spread < 1.4


def test_the_bound_of_a_layer_at_one_position_is_its_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(5, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0, 1])
    bounds = backward_bounds(model, inputs, labels)
    for x, y, row in zip(inputs, labels, bounds, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[None]), y[None]).backward()
        weights = [parameter.grad for parameter in model.parameters() if parameter.ndim == 2]
        # the layers' hooks run from the output to the input
        expected = [weight.square().sum().item() for weight in reversed(weights) if weight is not None]
        np.testing.assert_allclose(row, expected)
