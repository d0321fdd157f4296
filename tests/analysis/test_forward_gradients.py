"""What stands for gradients after a forward pass: against autograd, and its sketch against the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cohaudit.analysis import forward_gradients
from cohaudit.analysis.forward_gradients import ForwardGradients, evenly


def stand_ins(samples: int, sizes: tuple[int, ...], classes: int) -> ForwardGradients:
    """Return random samples."""
    generator = np.random.default_rng(0)
    return ForwardGradients(
        [generator.normal(size=(samples, size)).astype(np.float32) for size in sizes],
        generator.dirichlet(np.ones(classes), samples).astype(np.float32),
        generator.integers(classes, size=samples),
    )


def test_of_a_single_layer_they_are_the_gradients_directions() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 3, bias=False).double()
    inputs = torch.randn(20, 5).double()
    labels = torch.randint(3, (20,))
    rows = []
    for x, y in zip(inputs, labels, strict=True):
        (found,) = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
        rows.append(found.flatten())
    probability = torch.softmax(model(inputs), 1).float().detach().numpy()
    own = ForwardGradients([inputs.float().numpy()], probability, labels.numpy())
    expected = F.normalize(torch.stack(rows), dim=1).numpy()
    assert own.rows(slice(None)) == pytest.approx(expected, abs=1e-6)


def test_every_layer_counts_alike_and_a_residual_for_all() -> None:
    own = stand_ins(30, (4, 9), 3)
    unit = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in own.views]
    residual = own.probability.copy()
    residual[np.arange(30), own.labels] -= 1
    residual /= np.linalg.norm(residual, axis=1, keepdims=True)
    expected = (residual @ residual.T) * np.mean([view @ view.T for view in unit], axis=0)
    rows = own.rows(slice(None))
    assert rows @ rows.T == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 10, 3000])
def test_a_sketch_keeps_cosines_as_well_as_its_length_allows(classes: int) -> None:
    own = stand_ins(60, (700, 900), classes)
    found = own.rows(slice(None))
    assert found.shape == (60, forward_gradients.NUMBERS)
    residual = own.residuals(slice(None)).numpy()
    inputs = np.concatenate(
        [view / np.linalg.norm(view, axis=1, keepdims=True) / 2**0.5 for view in own.views], 1
    )
    errors = (found @ found.T - (residual @ residual.T) * (inputs @ inputs.T))[np.triu_indices(60, 1)]
    assert np.sqrt(np.square(errors).mean()) < 1.2 * forward_gradients.NUMBERS**-0.5


def test_fitted_samples_still_have_a_direction() -> None:
    probability = np.array([[1, 0, 0], [1, 1e-38, 0], [1, 1e-38, 1e-38]], dtype=np.float32)
    own = ForwardGradients([np.ones((3, 1), np.float32)], probability, np.zeros(3, dtype=np.int64))
    found = own.residuals(np.arange(3)).numpy()
    assert found == pytest.approx(
        np.array([[-1, 0, 0], [-(0.5**0.5), 0.5**0.5, 0], np.array([-2, 1, 1]) / 6**0.5]), abs=1e-3
    )


def test_samples_are_drawn_evenly_and_the_same_each_time() -> None:
    assert evenly(5, 5).tolist() == [0, 1, 2, 3, 4]
    found = evenly(10_000, 1000)
    assert len(set(found.tolist())) == 1000
    assert (np.diff(found) > 0).all()
    assert found.mean() == pytest.approx(5000, abs=300)
    assert (found == evenly(10_000, 1000)).all()
