"""Input columns: sums against plain autograd, properties of the coherence, and noise columns found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_datasets import write_csv
from torch import Tensor, nn

import cohaudit
from cohaudit.audits.input_features import input_features, mean_pair_cosine
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.input_sums import InputSums
from cohaudit.gradients.passes.inputs import LABEL_SHUFFLES, input_sums
from cohaudit.loading.data import open_dataset
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Inputs, Skipped

SAMPLES, CLASSES = 24, 3
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


@given(st.integers(2, 12), st.integers(1, 4), st.floats(0, 3), st.integers(0, 99))
def test_coherence_is_the_weighted_mean_cosine(count: int, size: int, shared: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    g = generator.normal(size=(count, size)) * generator.uniform(0, 2, (count, 1)) + shared
    norms = np.linalg.norm(g, axis=1)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    cosines = [g[i] @ g[j] / (norms[i] * norms[j]) for i, j in pairs]
    weights = [norms[i] * norms[j] for i, j in pairs]
    told = [np.array([v]) for v in (np.square(g.sum(0)).sum(), np.square(g).sum(), norms.sum())]
    found = float(mean_pair_cosine(*told)[0])
    assert found == pytest.approx(np.average(cosines, weights=weights), abs=1e-9)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert float(mean_pair_cosine(4 * told[0], 4 * told[1], 2 * told[2])[0]) == pytest.approx(found)


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network fitted to two columns of signal, a copy, eight of noise, a rare and a constant one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    x = torch.randn(400, 13, generator=generator)
    x[:, 0] += 1.5 * labels
    x[:, 1] -= 1.5 * labels
    x[:, 2] = x[:, 0]
    x[:, 11] = 0.0
    x[:4, 11] = 1.0
    x[:, 12] = 0.7
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return model, x, labels


def test_noise_is_found_and_signal_its_copy_and_rare_columns_are_not_noise(tmp_path: Path) -> None:
    model, x, labels = trained()
    noise = [f"noise {j}" for j in range(8)]
    columns = ["up", "down", "up again", *noise, "rare", "still"]
    path = tmp_path / "rows.csv"
    pd.DataFrame(x.numpy(), columns=columns).assign(label=labels.numpy()).to_csv(path, index=False)
    found = cohaudit.scan(model, str(path), audits=("inputs",)).audits.inputs
    assert isinstance(found, Inputs)
    verdicts = {column.name: column.verdict for column in found.columns}
    assert [verdicts[name] for name in ("up", "down", "up again", "rare")] == [*(["signal"] * 3), "rare"]
    assert [verdicts[name] for name in noise].count("noise") >= 7
    assert found.constants == ("still",)
    assert (found.total, found.constant, found.rare) == (13, 1, 1)
    assert {column.name for column in found.columns[:8]} == set(noise)
    assert f"{found.noise} of 12 varying columns" in found.advice
    assert "1 more is constant" in found.advice


def test_columns_have_no_names_behind_a_transform(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "age,hours,label\n1,3,0\n2,4,1\n")
    assert open_dataset(config).column_names == ("age", "hours")
    (tmp_path / "change.py").write_text("import torch\ndef change(row): return torch.ones(2)\n")
    assert open_dataset(replace(config, transform="change.py:change")).column_names == ()


def test_all_signal_says_that_there_is_nothing_to_drop() -> None:
    shuffled = np.linspace(-0.1, 0.1, LABEL_SHUFFLES)[:, None]
    squares, norms = np.full((1 + LABEL_SHUFFLES, 1), 500.0), np.full((1 + LABEL_SHUFFLES, 1), 500.0)
    sums = np.vstack([[[100_000.0]], 500 + 500 * shuffled])
    found = input_features(
        ["age"], "fc", squared_sum=sums, squares=squares, norms=norms, constant=np.array([False])
    )
    assert isinstance(found, Inputs)
    assert found.columns[0].verdict == "signal"
    assert "nothing to drop" in found.advice


def test_a_column_far_below_the_strongest_is_noise_though_above_its_null() -> None:
    squares, norms = np.full((1 + LABEL_SHUFFLES, 3), 500.0), np.full((1 + LABEL_SHUFFLES, 3), 500.0)
    sums = 500 + np.linspace(-5.0, 5.0, LABEL_SHUFFLES + 1)[:, None] * np.ones(3)
    sums[0] = 500 + 249_500 * np.array([0.3, 0.003, 0.03])
    found = input_features(
        ["strong", "inflated", "weak"],
        "fc",
        squared_sum=sums,
        squares=squares,
        norms=norms,
        constant=np.zeros(3, dtype=bool),
    )
    assert isinstance(found, Inputs)
    assert all(column.score > 3 for column in found.columns)
    assert [(c.name, c.verdict) for c in found.columns] == [
        *(("inflated", "noise"), ("weak", "signal"), ("strong", "signal"))
    ]


def test_constant_columns_alone_tell_nothing() -> None:
    zeros = np.zeros((1 + LABEL_SHUFFLES, 2))
    found = input_features(
        ["a", "b"], "fc", squared_sum=zeros, squares=zeros, norms=zeros, constant=np.array([True, True])
    )
    assert isinstance(found, Skipped)
    assert "constant" in found.reason
