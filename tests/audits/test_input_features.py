"""Input columns: properties of the coherence, and noise columns found."""

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
from cohaudit.gradients.passes.inputs import LABEL_SHUFFLES
from cohaudit.loading.data import open_dataset
from cohaudit.results import Inputs, Skipped


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


@pytest.mark.parametrize("directions", [2, 8, 40])
def test_one_column_of_noise_in_740_exceeds_the_null(directions: int) -> None:
    """‖Σ g‖² / Σ ‖g‖² of noise is a mean of squares of normal numbers, for the given labels as for others."""
    columns = 20_000
    generator = np.random.default_rng(directions)
    squares = np.full((1 + LABEL_SHUFFLES, columns), 500.0)
    sums = squares * generator.chisquare(directions, squares.shape) / directions
    found = input_features(
        [f"{j}" for j in range(columns)],
        "fc",
        squared_sum=sums,
        squares=squares,
        norms=np.full_like(squares, 500.0),
        constant=np.zeros(columns, dtype=bool),
    )
    assert isinstance(found, Inputs)
    # the smallest most of 20,000 are listed; those above the null are the ones that count as signal
    assert found.signal / columns == pytest.approx(0.00135, abs=0.0012)


def test_if_all_columns_are_signal_nothing_is_dropped() -> None:
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


def test_constant_columns_alone_are_skipped() -> None:
    zeros = np.zeros((1 + LABEL_SHUFFLES, 2))
    found = input_features(
        ["a", "b"], "fc", squared_sum=zeros, squares=zeros, norms=zeros, constant=np.array([True, True])
    )
    assert isinstance(found, Skipped)
    assert "constant" in found.reason
