"""The risk benchmark: its scores on tables whose scores are known, its zoo, and the measures of others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.generalization import complexity, zoo
from benchmarks.generalization.fit import half_width
from benchmarks.generalization.scores import conditional_information, coverage, granulated, kendall, spearman

FACTORS = ["width", "noise"]


def table(seed: int = 0, families: int = 3) -> pd.DataFrame:
    """Return networks on a full grid whose gap depends on both factors."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "family": f"family {family}",
            "width": width,
            "noise": noise,
            "gap": 0.1 * width + 0.3 * noise + 0.01 * rng.random(),
        }
        for family in range(families)
        for width in range(4)
        for noise in range(3)
    ]
    return pd.DataFrame(rows).assign(right=lambda t: t["gap"] ** 3, wrong=lambda t: -t["gap"], none=1.0)


def test_a_measure_that_ranks_as_the_gap_has_the_best_scores() -> None:
    rows = table()
    assert kendall(rows, "right") == spearman(rows, "right") == pytest.approx(1)
    assert granulated(rows, "right", FACTORS) == {"width": 1, "noise": 1}
    assert conditional_information(rows, "right", FACTORS) == pytest.approx(100)


def test_a_measure_that_ranks_the_other_way_is_as_informative_and_ranks_worst() -> None:
    rows = table()
    assert kendall(rows, "wrong") == pytest.approx(-1)
    assert granulated(rows, "wrong", FACTORS) == {"width": -1, "noise": -1}
    assert conditional_information(rows, "wrong", FACTORS) == pytest.approx(100)


def test_a_measure_that_sees_one_factor_alone_tells_nothing_once_it_is_known() -> None:
    rows = table(families=20).assign(
        seen=lambda t: t["noise"] + 0.001 * np.random.default_rng(1).random(len(t))
    )
    assert granulated(rows, "seen", FACTORS)["noise"] == 1
    assert conditional_information(rows, "seen", []) > 30
    assert conditional_information(rows, "seen", FACTORS) < 5


def test_a_measure_without_spread_is_worth_nothing() -> None:
    assert granulated(table(), "none", FACTORS) == {"width": 0, "noise": 0}
    assert np.isnan(conditional_information(table(), "none", FACTORS))


def test_pairs_that_differ_in_two_factors_do_not_count() -> None:
    rows = table().iloc[[0, 4]]  # width and noise differ: 0 and 1, 0 and 1
    assert granulated(rows.iloc[:2], "right", FACTORS) == {}


def test_missing_measures_are_left_out() -> None:
    rows = table()
    rows.loc[::2, "right"] = np.nan
    assert kendall(rows, "right") == pytest.approx(1)
    assert granulated(rows, "right", FACTORS)["noise"] == 1


def test_coverage_counts_the_ends() -> None:
    assert coverage(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.0, 0.0]), np.array([0.2, 0.1, 0.3])) == 2 / 3


@given(st.integers(2, 30), st.integers(0, 100))
def test_more_families_need_less_margin(families: int, seed: int) -> None:
    errors = np.abs(np.random.default_rng(seed).normal(size=200))
    assert half_width(errors, families) >= half_width(errors, families + 1) >= np.quantile(errors, 0.8)


def test_an_interval_covers_a_family_that_was_not_there() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(600):
        offsets = rng.normal(size=7)[:, None] + 0.3 * rng.normal(size=(7, 20))
        inside.append(np.mean(np.abs(offsets[-1]) <= half_width(np.abs(offsets[:-1]).ravel(), 6)))
    assert 0.78 < np.mean(inside) < 0.93


# the zoo


def test_neighbors_of_a_walk_differ_in_one_factor_and_no_member_comes_twice() -> None:
    members = zoo.members()
    assert len(set(members)) == len({member.key for member in members}) == len(members) >= 300
    for family in zoo.FAMILIES:
        walk = zoo.walk(family)
        changed = [
            [factor for factor in zoo.FACTORS if getattr(one, factor) != getattr(other, factor)]
            for one, other in pairwise(walk)
        ]
        assert all(len(factors) == 1 for factors in changed)
        assert {factor for (factor,) in changed} == set(zoo.FACTORS)


def test_every_data_and_half_of_the_families_are_never_fitted() -> None:
    unseen = [family for family in zoo.FAMILIES if not family.fit]
    assert 2 * len(unseen) == len(zoo.FAMILIES)
    assert {family.data for family in unseen} == {family.data for family in zoo.FAMILIES}


def test_a_member_is_trained_on_as_much_noise_as_it_says_and_is_made_again_as_it_was() -> None:
    family = zoo.FAMILIES[0]
    member = next(m for m in zoo.walk(family) if m.noise == 0.3 and m.samples == 2)
    noisy, clean = (zoo.given(replace(member, noise=noise), Path()) for noise in (0.3, 0.0))
    assert (noisy.labels != clean.labels).double().mean().item() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(noisy.test_labels, clean.test_labels)
    models = [zoo.build(member, (1, 8, 8), 10) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


@pytest.mark.parametrize("architecture", zoo.BUILDS)
def test_every_architecture_trains(architecture: str, tmp_path: Path, monkeypatch: Any) -> None:
    family = next(f for f in zoo.FAMILIES if f.architecture == architecture)
    shape = {"digits": (1, 8, 8), "fashion": (1, 28, 28), "cifar": (3, 32, 32), "adult": (108,)}[family.data]
    x, y = torch.randn(40, *shape), torch.arange(40) % 2
    member = replace(zoo.walk(family)[0], epochs=1, augment=True, samples=0)
    monkeypatch.setattr(zoo, "CACHE", tmp_path)
    model = zoo.train(member, zoo.Pool(x, y, x, y, 2))
    assert not model.training
    logits, accuracy, loss = zoo.measured(model, x, y)
    assert logits.shape == (40, 2)
    assert 0 <= accuracy <= 1
    assert loss > 0


# what others measure


def test_the_path_norm_is_the_sum_over_paths() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    first, last = model[1].weight.detach(), model[3].weight.detach()
    paths = [
        (float(first[j, i]) * float(last[k, j])) ** 2 for i in range(3) for j in range(2) for k in range(2)
    ]
    found = complexity.of_weights(model, model, (3,))
    assert found["path norm"] == pytest.approx(np.log(sum(paths)))
    assert found["distance from initialization"] == 0
    assert found["parameter norm"] == pytest.approx(float((first**2).sum() + (last**2).sum()) ** 0.5)


def test_a_network_with_layer_norm_has_no_path_norm() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    assert "path norm" not in complexity.of_weights(model, model, (3,))


def test_mixups_of_a_perfect_linear_network_are_without_error() -> None:
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    x = nn.functional.one_hot(y, 3).float() + 0.05 * torch.randn(60, 3)
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(3))
        model[1].bias.zero_()
    found = complexity.mixups(model, x, y, model[1], x)
    assert found["mixup"] == found["mixup with other classes"] == found["manifold mixup"] == 0
    assert found["Davies-Bouldin"] < 0.3


def test_the_input_margin_of_a_linear_network_is_its_distance_to_the_boundary() -> None:
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x, y = torch.tensor([[3.0, 1.0], [1.0, 4.0]]), torch.tensor([0, 1])
    found = complexity.margins(model, x, y, model(x).detach())
    distances = torch.tensor([2 / 2**0.5, 3 / 2**0.5]) / x.var(0).sum().sqrt()
    assert found["input margin"] == pytest.approx(-float(distances.quantile(0.25)))
    assert found["output margin"] == pytest.approx(-2.25)


def test_alignment_is_the_cosine_of_descent_and_weights() -> None:
    torch.manual_seed(0)
    head, h, y = nn.Linear(4, 3), torch.randn(30, 4), torch.randint(3, (30,))
    cosines = []
    for one, label in zip(h, y, strict=True):
        loss = nn.functional.cross_entropy(head(one[None]), label[None])
        (gradient,) = torch.autograd.grad(loss, head.weight)
        weight = head.weight.detach().flatten()
        cosines.append(float(nn.functional.cosine_similarity(-gradient.flatten(), weight, 0)))
    logits, bias, weight = head(h).detach(), head.bias.detach(), head.weight.detach()
    spread = np.array(cosines) - np.mean(cosines)
    excess = np.mean(spread**4) / np.mean(spread**2) ** 2 - 3
    found = complexity.alignment(logits, bias, h, weight, y)["gradient-weight alignment"]
    assert found == pytest.approx(-np.mean(cosines) / (excess + 1.2), rel=1e-4)


def test_sharpness_leaves_the_network_as_it_was() -> None:
    model, x, y = nn.Linear(3, 2), torch.randn(20, 3), torch.randint(2, (20,))
    before = [p.detach().clone() for p in model.parameters()]
    found = complexity.sharpness(model, x, y)
    assert found["sharpness"] > 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
