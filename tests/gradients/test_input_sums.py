"""Sums of the gradients behind each input column: against plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.input_sums import InputSums
from cohaudit.gradients.passes.inputs import LABEL_SHUFFLES, input_sums
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Skipped

SAMPLES = 24
CLASSES = 3
OPTIONS = options_of(Config(batch_size=10))


def source_of(x: Tensor, labels: Tensor, classes: int = CLASSES) -> Source:
    names = [str(i) for i in range(len(x))]
    return Source(lambda indices: x[list(indices)], labels.numpy(), names, [str(c) for c in range(classes)])


def measured(model: nn.Module, x: Tensor, labels: Tensor, classes: int = CLASSES) -> InputSums | Skipped:
    source = source_of(x, labels, classes)
    return input_sums(model.eval(), source, OPTIONS, torch.device("cpu"), lambda done: None)


def residual_orders(labels: Tensor, classes: int) -> list[Tensor]:
    generator = np.random.default_rng(OPTIONS.seed)
    orders = [
        labels,
        *(torch.from_numpy(generator.permutation(labels.numpy())) for _ in range(LABEL_SHUFFLES)),
    ]
    share = torch.bincount(labels, minlength=classes).double() / len(labels)
    return [share - nn.functional.one_hot(order, classes) for order in orders]


def rows(count: int, columns: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(count, columns, dtype=torch.float64) + torch.arange(columns)
    x[:, 1] = 0.1
    return x, torch.arange(count) * 7 % CLASSES


@pytest.mark.parametrize("outputs", [3, 1])
def test_sums_are_those_of_single_samples_by_plain_autograd(outputs: int) -> None:
    x, labels = rows(SAMPLES, 5)
    classes = max(2, outputs)
    labels = labels % classes
    front = nn.BatchNorm1d(5, affine=False)
    model = nn.Sequential(front, nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, outputs)).double().eval()
    front.running_mean, front.running_var = torch.arange(5.0).double(), torch.full((5,), 4.0).double()
    found = measured(model, x, labels, classes)
    assert isinstance(found, InputSums)
    assert found.constant.tolist() == [False, True, False, False, False]
    layer = model[1]
    for order in (0, 3):
        residuals = residual_orders(labels, classes)[order][:, -outputs:]
        gradients = []
        for one, residual in zip(x, residuals, strict=True):
            output = model(one[None])[0] @ residual
            # with respect to the columns as they are in the data, less their mean: through the bias
            (bias,) = torch.autograd.grad(output, [layer.bias])
            gradients.append(bias[:, None] * (one - x.mean(0)))
        g = torch.stack(gradients)
        g[:, :, 1] = 0
        squared = g.sum(0).square().sum(0)
        np.testing.assert_allclose(found.squared_sum[order], squared, rtol=1e-9, atol=1e-20)
        np.testing.assert_allclose(found.squares[order], g.square().sum((0, 1)), rtol=1e-9)
        np.testing.assert_allclose(found.norms[order], g.norm(dim=1).sum(0), rtol=1e-9)


def test_of_a_linear_layer_alone_they_are_its_weight_gradients() -> None:
    x, labels = rows(SAMPLES, 4)
    x = x - x.mean(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()
    found = measured(model, x, labels)
    assert isinstance(found, InputSums)
    residuals = residual_orders(labels, CLASSES)[0]
    total = (model(x) * residuals).sum()
    (weight,) = torch.autograd.grad(total, [model[0].weight])
    np.testing.assert_allclose(found.squared_sum[0][2:], weight.square().sum(0)[2:], rtol=1e-9)


class Bag(nn.Module):
    """Embedding, mean over the places, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4, padding_idx=0)
        self.body = nn.Sequential(nn.Tanh(), nn.Linear(4, CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [batch, places] to logits."""
        weights = torch.arange(1, tokens.shape[1] + 1).to(self.embed.weight)
        return self.body((self.embed(tokens) * weights[:, None]).mean(1))


def test_tokens_are_those_of_single_samples_by_plain_autograd() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 7, (SAMPLES, 6))
    labels = torch.arange(SAMPLES) * 7 % CLASSES
    model = Bag().double()
    found = measured(model, tokens, labels)
    assert isinstance(found, InputSums)
    assert found.columns.tolist() == [1, 2, 3, 4, 5, 6]
    # without padding_idx the padding's row would have a gradient, too
    model.embed.padding_idx = None
    places = torch.stack([torch.bincount(one, minlength=9) for one in tokens]).double()[:, 1:7]
    for order in (0, 2):
        residuals = residual_orders(labels, CLASSES)[order]
        raw = []
        for one, residual in zip(tokens, residuals, strict=True):
            (g,) = torch.autograd.grad(model(one[None])[0] @ residual, [model.embed.weight])
            raw.append(g[1:7])
        gradients = torch.stack(raw)
        gradients = gradients - gradients.sum((0, 1)) / places.sum() * places[:, :, None]
        squares = gradients.square().sum((0, 2))
        squared = gradients.sum(0).square().sum(1)
        np.testing.assert_allclose(found.squared_sum[order], squared, rtol=1e-9)
        np.testing.assert_allclose(found.squares[order], squares, rtol=1e-9)
        having = (places > 0).sum(0)
        np.testing.assert_allclose(found.norms[order], (squares * having).sqrt(), rtol=1e-9)


class Twice(nn.Module):
    """One layer that sees the input and its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, 4] to logits."""
        return self.head(self.fc(self.fc(x)))


CONVOLUTION = nn.Sequential(nn.Conv1d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(4, CLASSES))


@pytest.mark.parametrize(
    ("model", "shape", "reason"),
    [
        (CONVOLUTION, (1, 4), "column by column"),
        (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, CLASSES)), (4,), "column by column"),
        (Twice(), (4,), "called several times"),
    ],
    ids=["convolution", "mixed columns", "called twice"],
)
def test_without_columns_it_says_why(model: nn.Module, shape: tuple[int, ...], reason: str) -> None:
    torch.manual_seed(0)
    found = measured(model, torch.randn(SAMPLES, *shape), torch.arange(SAMPLES) % CLASSES)
    assert isinstance(found, Skipped)
    assert reason in found.reason


def test_the_model_is_left_as_it_was() -> None:
    x, labels = rows(SAMPLES, 4)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, CLASSES)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measured(model, x, labels)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
