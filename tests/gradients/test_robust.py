"""Robust averages of gradients: against autograd one sample at a time, and their promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from cohaudit.errors import ConfigError
from cohaudit.gradients.robust import clipped_count, median_of_three_gradient, winsorized_gradient


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 3)).double()


def data(count: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (count,), generator=generator)


def one_by_one(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, np.ndarray]:
    rows: dict[str, list[np.ndarray]] = {}
    for one, label in zip(x, y, strict=True):
        found = torch.autograd.grad(F.cross_entropy(model(one[None]), label[None]), list(model.parameters()))
        for (name, _), gradient in zip(model.named_parameters(), found, strict=True):
            rows.setdefault(name, []).append(gradient.numpy())
    return {name: np.stack(gradients) for name, gradients in rows.items()}


@given(st.integers(0, 49), st.integers(1, 20))
def test_a_share_in_percent_of_hundreds_is_a_whole_number(percent: int, hundreds: int) -> None:
    # 0.29 · 100 is 28.999… in floating point
    assert clipped_count(percent / 100, 100 * hundreds) == percent * hundreds


@given(st.floats(0, 0.499), st.integers(1, 10_000))
def test_the_clipped_count_is_the_floor_of_the_product(clip: float, count: int) -> None:
    found = clipped_count(clip, count)
    assert found <= clip * count + 1e-9
    assert found > clip * count - 1 - 1e-9


@pytest.mark.parametrize("clip", [0.0, 0.04, 0.1, 0.3, 0.49])
def test_the_winsorized_mean_is_that_of_gradients_one_by_one(clip: float) -> None:
    model, (x, y) = network(), data()
    found = winsorized_gradient(model, F.cross_entropy, x, y, clip=clip)
    k = int(clip * len(x))
    for name, rows in one_by_one(model, x, y).items():
        ordered = np.sort(rows, axis=0)
        expected = np.clip(rows, ordered[k], ordered[len(x) - 1 - k]).mean(0)
        np.testing.assert_allclose(found.gradient[name].numpy(), expected, rtol=1e-10, atol=1e-14)


def test_without_clipping_it_is_the_mean() -> None:
    model, (x, y) = network(), data()
    found = winsorized_gradient(model, F.cross_entropy, x, y, clip=0.0)
    F.cross_entropy(model(x), y).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found.gradient[name], parameter.grad)
    assert found.kept == pytest.approx(1)
    assert found.cosine == pytest.approx(1)
    assert len(found.clipped) == 0


def test_the_median_of_three_lies_between_the_means_of_the_groups() -> None:
    model, (x, y) = network(), data()
    found = median_of_three_gradient(model, F.cross_entropy, x, y, seed=3)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    for name, rows in one_by_one(model, x, y).items():
        means = np.stack([rows[part.numpy()].mean(0) for part in order.tensor_split(3)])
        np.testing.assert_allclose(found.gradient[name].numpy(), np.median(means, 0), rtol=1e-10, atol=1e-14)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0, 0.49))
def test_every_coordinate_lies_within_its_samples(seed: int, clip: float) -> None:
    model, (x, y) = network(), data(9, seed)
    found = winsorized_gradient(model, F.cross_entropy, x, y, clip=clip)
    for name, rows in one_by_one(model, x, y).items():
        assert (found.gradient[name].numpy() >= rows.min(0) - 1e-12).all()
        assert (found.gradient[name].numpy() <= rows.max(0) + 1e-12).all()


def test_a_single_sample_cannot_pull_the_average() -> None:
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double(), data(40)
    calm = winsorized_gradient(model, F.cross_entropy, x, y, clip=0.05)
    wild = x.clone()
    wild[7] *= 1e4
    pulled = winsorized_gradient(model, F.cross_entropy, wild, y, clip=0.05)
    mean = winsorized_gradient(model, F.cross_entropy, wild, y, clip=0.0)
    name = "0.weight"
    assert float((pulled.gradient[name] - calm.gradient[name]).norm()) < 0.5 * float(
        calm.gradient[name].norm()
    )
    assert float(mean.gradient[name].norm()) > 5 * float(pulled.gradient[name].norm())
    assert pulled.kept < 0.5
    assert int(pulled.clipped.argmax()) == 7


def test_wrong_labels_are_clipped_most() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 2)
    y = torch.arange(200) % 2
    x = torch.randn(200, 5) + 2 * (y[:, None] - 0.5)
    wrong = torch.zeros(200, dtype=torch.bool)
    wrong[::10] = True
    given_labels = torch.where(wrong, 1 - y, y)
    for _ in range(50):
        step = winsorized_gradient(model, F.cross_entropy, x, given_labels, clip=0.1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(step.gradient[name], alpha=0.5)
    assert roc_auc_score(wrong.numpy(), step.clipped.numpy()) > 0.9
    assert float((model(x).argmax(1) == y).float().mean()) > 0.95


def test_frozen_parameters_have_no_gradient_and_the_model_is_left_as_it_was() -> None:
    model, (x, y) = network(), data()
    model[0].weight.requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    found = winsorized_gradient(model, F.cross_entropy, x, y, clip=0.1)
    assert set(found.gradient) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("clip", [-0.1, 0.5, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused(clip: float) -> None:
    with pytest.raises(ConfigError, match=r"clip: found"):
        winsorized_gradient(network(), F.cross_entropy, *data(), clip=clip)


def test_too_few_samples_are_refused() -> None:
    x, y = data()
    with pytest.raises(ConfigError, match="found no samples"):
        winsorized_gradient(network(), F.cross_entropy, x[:0], y[:0], clip=0.1)
    with pytest.raises(ConfigError, match="found 2 samples"):
        median_of_three_gradient(network(), F.cross_entropy, x[:2], y[:2])
