"""The benchmark of networks of the same data: its scores and disturbances against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.same_data import again, perturbed, retrained
from benchmarks.same_data.cells import cells
from benchmarks.same_data.ranking import (
    Network,
    Pair,
    ceiling,
    combined,
    differences,
    fit_slope,
    interval,
    left_out,
    pairs,
    standard_error,
    tau,
)
from benchmarks.same_data.recipes import recipes


def network(cell: str, accuracy: float, tests: int = 1000, **measures: float) -> Network:
    right = np.arange(tests) < accuracy * tests
    return Network(cell, cell.split()[0], False, "", right, 1.0, measures)


def drawn_pairs(families: int, slope: float, seed: int) -> list[Pair]:
    """Return pairs whose second network is better with the probability σ(slope · difference)."""
    rng = np.random.default_rng(seed)
    found = []
    for family in range(families):
        for _ in range(60):
            rise = rng.normal()
            better = rng.random() < 1 / (1 + np.exp(-slope * rise))
            a, b = network(f"f{family}", 0.5, x=0.0), network(f"f{family}", 0.6 if better else 0.4, x=rise)
            found.append(Pair(a, b, 0.1 if better else -0.1, 0.01))
    return found


@given(st.integers(0, 40), st.integers(0, 40), st.integers(100, 300))
def test_the_standard_error_is_that_of_paired_samples(b: int, c: int, n: int) -> None:
    first = np.zeros(n, dtype=bool)
    second = np.zeros(n, dtype=bool)
    first[:b] = True
    second[b : b + c] = True
    assert standard_error(first, second) == pytest.approx(math.sqrt(b + c - (b - c) ** 2 / n) / n)


def test_pairs_are_of_one_cell_and_fitted() -> None:
    some = [network("a", 0.5), network("a", 0.6), network("b", 0.7), network("b", 0.9)]
    assert [round(pair.difference, 2) for pair in pairs(some, 0.95)] == [0.1, 0.2]
    assert pairs(some, 1.01) == []


def test_tau_counts_right_against_wrong_and_leaves_out_what_is_missing() -> None:
    some = pairs([network("a", k / 10, x=k) for k in range(1, 5)], 0.95)
    rises = differences(some, "x")
    assert tau(rises, some) == 1
    assert tau(-rises, some) == -1
    assert tau(np.zeros(6), some) == 0
    rises[0] = np.nan
    assert tau(rises, some) == 1
    assert math.isnan(tau(differences(some, "y"), some))


def test_the_ceiling_is_the_tau_of_the_truth_with_its_noisy_measurement() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.02, 4000)
    measured = true + rng.normal(0, 0.015, 4000)
    a = network("a", 0.5)
    some = [Pair(a, a, float(one), 0.015) for one in measured]
    assert ceiling(some) == pytest.approx(np.mean(np.sign(true * measured)), abs=0.03)
    noise = [Pair(a, a, float(one), 0.015) for one in rng.normal(0, 0.015, 4000)]
    assert ceiling(noise) < 0.15


def test_the_slope_is_found_and_left_out_probabilities_come_true() -> None:
    some = drawn_pairs(8, 1.5, 0)
    rises = differences(some, "x")
    assert fit_slope(rises, some) == pytest.approx(1.5, rel=0.25)
    better = np.array([pair.difference > 0 for pair in some])
    for probability in (left_out(rises, some), combined(rises[:, None], some)):
        high = probability > 0.7
        assert better[high].mean() == pytest.approx(probability[high].mean(), abs=0.07)


def test_a_family_has_no_part_in_its_own_probability() -> None:
    some = drawn_pairs(3, 2.0, 1)
    rises = differences(some, "x")
    turned = [Pair(p.first, p.second, -p.difference, p.error) if p.first.family == "f0" else p for p in some]
    own = np.array([pair.first.family == "f0" for pair in some])
    assert left_out(rises, some)[own] == pytest.approx(left_out(rises, turned)[own])
    columns = rises[:, None]
    assert combined(columns, some)[own] == pytest.approx(combined(columns, turned)[own])


@settings(max_examples=20)
@given(st.floats(0, 1), st.integers(0, 9))
def test_a_linear_network_answers_a_mixture_by_the_mixture_of_its_answers(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    partner = torch.randperm(12)
    words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    numbers = nn.Linear(3, 3)
    for model, x in ((words, torch.randint(0, 9, (12, 3))), (numbers, torch.randn(12, 3))):
        with torch.no_grad():
            own = model(x)
        expected = share * own + (1 - share) * own[partner]
        torch.testing.assert_close(perturbed.mixed(model, x, partner, share), expected, atol=1e-5, rtol=1e-4)
        # the hook is gone
        torch.testing.assert_close(model(x).detach(), own)


def test_two_halves_of_a_linear_network_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.Linear(8, 3, bias=False))
    x = torch.randn(6, 5)
    first, second = perturbed.half_networks(model, x, torch.Generator().manual_seed(0))
    torch.testing.assert_close((first + second) / 2, model(x).detach())
    assert not torch.allclose(first, second)


def test_partners_share_the_label_and_neighbors_are_near_and_another_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40) % 4
    assert torch.equal(y[perturbed.partners(y, generator)], y)
    clusters = torch.arange(40) // 10
    x: Tensor = clusters[:, None] * 100.0 + torch.randn(40, 2)
    near = perturbed.neighbors(x, generator)
    assert torch.equal(clusters[near], clusters)
    assert not (near == torch.arange(40)).any()
    texts = 1 + 10 * clusters[:, None] + torch.randint(0, 10, (40, 30))
    assert torch.equal(clusters[perturbed.neighbors(texts, generator)], clusters)


def test_disturbed_samples_are_like_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 8, 8)
    shifted = perturbed.natural(images, generator)
    torch.testing.assert_close(shifted.sum((1, 2, 3)), images.sum((1, 2, 3)))
    table = torch.arange(400.0).reshape(100, 4)
    other = perturbed.natural(table, generator)
    assert (other % 4 == table % 4).all()
    assert 0 < (other != table).float().mean() < 0.2


def test_a_head_refitted_in_folds_finds_what_the_features_tell_and_no_more() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    noise = rng.normal(size=(200, 5))
    assert again.folds_of_head(noise + 5 * np.eye(5)[labels], labels) > 0.99
    assert again.folds_of_head(noise, labels) == pytest.approx(0.5, abs=0.15)


def test_a_head_can_disagree_only_where_samples_were_moved() -> None:
    torch.manual_seed(0)
    head = nn.Linear(3, 2)
    features = torch.randn(40, 3)
    far = features + torch.tensor([0.0, 0.0, 50.0])
    with torch.no_grad():
        here, there = (head(rows).argmax(1) for rows in (features, far))
    before = head.weight.clone()
    assert retrained.discrepancy(features, features, (here, here), head) <= 0.1
    assert retrained.discrepancy(features, far, (here, there), head) > 0.5
    assert torch.equal(head.weight, before)


def test_the_interval_of_a_difference_from_itself_is_nothing() -> None:
    some = drawn_pairs(4, 1.0, 0)
    rises = differences(some, "x")
    assert interval(rises, some, minus=rises) == (0, 0)
    low, high = interval(rises, some, minus=-rises)
    assert low > 0
    assert high == pytest.approx(2 * interval(rises, some)[1])


def test_the_first_two_recipes_of_a_cell_differ_in_their_seed_alone() -> None:
    for cell in cells():
        first, second, *others = recipes(cell)
        assert (first.seed, second.seed) == (0, 1)
        assert str(first).replace("seed=0", "") == str(second).replace("seed=1", "")
        assert len(set(others)) == len(others)
