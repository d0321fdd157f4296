"""Robust averages over a whole dataset: coordinates against plain autograd, and what the averages promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.cases import ALL_CASES, make
from support.networks import CLASSES
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.audits.robust_mean import SampleFlags, choose, robust_step, told
from cohaudit.audits.winsorized_statistics import (
    CLIPS,
    MOST,
    CoordinateSample,
    Totals,
    allowance,
    averages,
    choose_coordinates,
    clipped_shares,
    cosine,
    groups_of_three,
    kept,
    share_of_step,
)
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.coordinates import gradient_coordinates
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.robust import winsorized_gradient
from cohaudit.pipeline.scan import options_of
from cohaudit.results import RobustStep, Skipped

CPU = torch.device("cpu")
LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0])
OPTIONS = options_of(Config(batch_size=4))


def source(inputs: Any, labels: Any) -> Source:
    return Source(
        lambda indices: pytree.tree_map(lambda t: t[list(indices)], inputs),
        np.asarray(labels),
        [f"s{i}" for i in range(len(labels))],
        [f"c{i}" for i in range(CLASSES)],
    )


def everything(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.arange(p.numel()) for name, p in model.named_parameters() if p.requires_grad}


def one_by_one(model: nn.Module, inputs: Any, labels: np.ndarray) -> dict[str, np.ndarray]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in named}
    for i, label in enumerate(labels):
        one = pytree.tree_map(lambda t, i=i: t[i : i + 1], inputs)
        logits = logits_of(model(*one) if isinstance(one, tuple) else model(one))
        loss = F.cross_entropy(logits, torch.tensor([label]))
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for (name, p), g in zip(named.items(), found, strict=True):
            rows[name].append((torch.zeros_like(p) if g is None else g).flatten().numpy())
    return {name: np.stack(own) for name, own in rows.items()}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("name", ALL_CASES)
def test_coordinates_are_those_of_gradients_one_by_one(name: str) -> None:
    model, inputs = make(name)
    chosen = {key: own[::2] for key, own in everything(model).items()}
    seen: list[int] = []
    found = gradient_coordinates(model, source(inputs, LABELS), chosen, OPTIONS, CPU, advance=seen.append)
    for key, expected in one_by_one(model, inputs, LABELS).items():
        ours = found.gradients(key)
        assert ours.shape == (len(LABELS), len(chosen[key]))
        np.testing.assert_allclose(ours, expected[:, chosen[key]], rtol=1e-8, atol=1e-12)
    assert sum(seen) == len(LABELS)


class Forked(nn.Module):
    """Calls its layer in another way for a batch with a large input; the outputs are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 4), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.layer(x[None])[0] if bool((x > 9).any()) else self.layer(x)
        logits: torch.Tensor = self.head(inner.relu())
        return logits


def test_a_path_that_depends_on_the_data_is_measured_too() -> None:
    torch.manual_seed(0)
    model, x = Forked().double().eval(), torch.randn(9, 5, dtype=torch.float64)
    x[5] = 10
    found = gradient_coordinates(
        model, source(x, LABELS), everything(model), OPTIONS, CPU, advance=lambda done: None
    )
    for name, expected in one_by_one(model, x, LABELS).items():
        np.testing.assert_allclose(found.gradients(name), expected, rtol=1e-8, atol=1e-12)


def fit_network(count: int = 60) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x, y = torch.randn(count, 4, dtype=torch.float64), torch.arange(count) % CLASSES
    x[:, 0] += 2 * y
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    return model, x, y


def test_the_averages_are_those_of_the_training_loop() -> None:
    model, x, y = fit_network()
    found = gradient_coordinates(
        model, source(x, y), everything(model), OPTIONS, CPU, advance=lambda done: None
    )
    thirds, sets = groups_of_three(len(y), 0), np.zeros((1, len(y)), dtype=bool)
    drawn, expected = [], winsorized_gradient(model, F.cross_entropy, x, y, clip=0.04)
    for name, gradient in expected.gradient.items():
        own = averages(found.gradients(name), sets, thirds, (0.0, 0.04))
        np.testing.assert_allclose(own.winsorized[0], own.mean, atol=1e-14)
        np.testing.assert_allclose(own.winsorized[1], gradient.flatten().numpy(), atol=1e-12)
        drawn.append(CoordinateSample(gradient.numel(), [own]))
    whole = Totals(drawn, len(y), 0)
    assert whole.estimate(kept(2)).value == pytest.approx(expected.kept)
    assert whole.estimate(cosine(2)).value == pytest.approx(expected.cosine)
    np.testing.assert_allclose(clipped_shares(drawn)[1], expected.clipped.numpy(), atol=1e-12)


GRADIENTS = arrays(np.float64, (30, 5), elements=st.floats(-100, 100))


@settings(max_examples=50)
@given(GRADIENTS, st.sampled_from([0.0, 0.04, 0.2, 0.49]), st.integers(0, 5))
def test_averages_lie_within_the_samples_and_the_shares_add_up(
    gradients: np.ndarray, clip: float, seed: int
) -> None:
    members = np.random.default_rng(seed).random(30) < 0.4
    own = averages(gradients, np.stack([members, ~members]), groups_of_three(30, seed), (clip,))
    k = int(clip * 30)
    ordered = np.sort(gradients, axis=0)
    expected = np.clip(gradients, ordered[k], ordered[29 - k])
    np.testing.assert_allclose(own.winsorized[0], expected.mean(0), atol=1e-9)
    np.testing.assert_allclose(own.parts[1].sum(0), expected.sum(0), atol=1e-8)
    for average in (own.winsorized[0], own.median):
        assert (average >= ordered[0] - 1e-9).all()
        assert (average <= ordered[-1] + 1e-9).all()
    assert ((own.clipped >= 0) & (own.clipped <= own.energy + 1e-9)).all()
    whole = Totals([CoordinateSample(5, [own])], 30, 0)
    for which in (0, 1):
        if np.square(expected.mean(0) if which else own.mean).sum() > 1e-6:
            shares = [whole.estimate(share_of_step(which, s)).value for s in range(2)]
            assert sum(shares) == pytest.approx(1)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(30, 20_000))
def test_all_layers_together_fit_the_memory(sizes: list[int], total: int) -> None:
    most = allowance(sizes, total)
    assert 1 <= most <= MOST
    assert sum(min(size, most) for size in sizes) <= total
    # what is left over would not give every layer that wants it one more
    wanting = sum(size > most for size in sizes)
    assert most == MOST or total - sum(min(size, most) for size in sizes) < wanting


def test_a_small_layer_is_looked_at_whole_and_a_large_one_evenly() -> None:
    sizes = {"a.weight": 900, "a.bias": 100, "b.weight": 30}
    layer_of = {"a.weight": "a", "a.bias": "a", "b.weight": "b"}
    found = [choose_coordinates(sizes, layer_of, 200, seed) for seed in range(40)]
    for one in found:
        assert len(one["a.weight"]) + len(one["a.bias"]) == 200
        assert one["b.weight"].tolist() == list(range(30))
        for name, size in sizes.items():
            assert np.array_equal(np.unique(one[name]), one[name])
            assert one[name].max(initial=0) < size
    counts = np.bincount(np.concatenate([one["a.weight"] for one in found]), minlength=900)
    assert counts.mean() == pytest.approx(8, abs=0.5)


def test_intervals_hold_the_whole_and_vanish_when_every_coordinate_is_seen() -> None:
    generator = np.random.default_rng(1)
    gradients = generator.standard_t(3, (60, 4000)) + generator.normal(size=4000)
    members, thirds = (np.arange(60) < 9)[None], groups_of_three(60, 0)
    whole = Totals([CoordinateSample(4000, [averages(gradients, members, thirds)])], 60, 0)
    held = []
    for seed in range(40):
        some = np.random.default_rng(seed).permutation(4000)[:400]
        drawn = Totals([CoordinateSample(4000, [averages(gradients[:, some], members, thirds)])], 60, seed)
        for ratio in (kept(2), cosine(2), share_of_step(0, 0)):
            truth, told = whole.estimate(ratio), drawn.estimate(ratio)
            assert truth.low == truth.value == truth.high
            held.append(told.low <= truth.value <= told.high)
    assert 0.82 < np.mean(held) < 0.97


def standing(count: int, memorized: int = 0) -> SampleFlags:
    memorization = np.where(np.arange(count) < memorized, 0.9, 0.1)
    return SampleFlags([f"s{i}" for i in range(count)], memorization, memorization > 0.8)


def test_a_sample_that_stands_apart_is_clipped_most_and_owns_the_mean_not_the_robust_step() -> None:
    model, x, y = fit_network()
    x[0] *= 100
    found = robust_step(model, source(x, y), standing(60, 1), OPTIONS, CPU, advance=lambda done: None)
    assert isinstance(found, RobustStep)
    assert found.clipped[0].id == "s0"
    assert found.clipped[0].suspect
    assert found.clipped_memorized == found.memorized == found.suspects == 1
    mean, *_, most = found.steps
    assert mean.memorized.value > 0.9
    assert most.memorized.value < 0.5
    assert mean.memorized == mean.suspects
    assert found.averages[1].kept.value < 0.5
    assert [one.coordinates for one in found.layers] == [one.parameters for one in found.layers] == [30, 21]


def test_the_share_of_the_step_is_that_of_gradients_one_by_one() -> None:
    model, x, y = fit_network()
    found = robust_step(model, source(x, y), standing(60, 12), OPTIONS, CPU, advance=lambda done: None)
    assert isinstance(found, RobustStep)
    rows = np.concatenate(list(one_by_one(model, x, y.numpy()).values()), axis=1)
    expected = rows[:12].sum(0) @ rows.mean(0) / (rows.sum(0) @ rows.mean(0))
    assert found.steps[0].memorized.value == pytest.approx(expected, rel=1e-6)


def test_where_gradients_are_tiny_nothing_is_lost() -> None:
    model, x, y = fit_network()
    both = []
    for factor in (1.0, 1e3):
        with torch.no_grad():
            model[2].weight.mul_(factor)
        found = robust_step(model, source(x, y), standing(60, 5), OPTIONS, CPU, advance=lambda done: None)
        assert isinstance(found, RobustStep)
        both.append(found)
    assert all(np.isfinite(one.kept.value) and one.kept.value > 0 for one in both[1].averages)


def test_what_cannot_be_told_says_why() -> None:
    model, x, y = fit_network(24)
    few = robust_step(model, source(x, y), standing(24), OPTIONS, CPU, advance=lambda done: None)
    assert isinstance(few, Skipped)
    assert "there are 24" in few.reason
    model, x, y = fit_network()
    unknown = SampleFlags([f"s{i}" for i in range(60)], np.full(60, np.nan), np.zeros(60, dtype=bool))
    found = robust_step(model, source(x, y), unknown, OPTIONS, CPU, advance=lambda done: None)
    assert isinstance(found, Skipped)
    assert "memorized" in found.reason


def test_many_samples_have_fewer_coordinates() -> None:
    model = nn.Linear(1000, 100)
    some, fewer = (sum(map(len, choose(model, count, 0).values())) for count in (1000, 100_000))
    assert some == MOST
    assert fewer == 128 * 2**20 // 4 // 100_000
    assert len(CLIPS) == 2


def gradients_that(cancel: bool) -> np.ndarray:
    """Return gradients of 100 samples that agree; three pull hard, against the others or with them."""
    generator = np.random.default_rng(0)
    rows = generator.normal(1, 0.1, (100, 40))
    rows[:3] = generator.normal(-15 if cancel else 60, 1, (3, 40))
    return rows


@pytest.mark.parametrize(
    ("cancel", "suspects", "expected"),
    [
        (True, 3, "Correct or drop the 3 suspects"),
        (True, 0, "nothing to do"),
        (False, 3, "Keep to the mean: nothing to do"),
    ],
)
def test_advice_is_to_correct_where_single_samples_cancel_the_rest(
    cancel: bool, suspects: int, expected: str
) -> None:
    memorization = np.where(np.arange(100) < 3, 0.9, 0.1)
    those = SampleFlags([str(i) for i in range(100)], memorization, np.arange(100) < suspects)
    drawn = {
        "fc": CoordinateSample(40, [averages(gradients_that(cancel), those.sets, groups_of_three(100, 0))])
    }
    found = told(drawn, those, 0)
    assert expected in found.advice
    assert "memorized samples, 3.0% of all" in found.advice
    assert {one.id for one in found.clipped[:3]} == {"0", "1", "2"}
