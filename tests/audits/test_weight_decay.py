"""Decay against data: forces by hand, where the trained decay lies, and what a checkpoint tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cohaudit.audits.checkpoint_inspection import decay_of
from cohaudit.audits.weight_decay import CHI2_95, LayerForces, background_force
from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.results import BackgroundForce, Skipped, TrainedDecay

SAMPLES = 100
UNKNOWN = Skipped("weight decay", "not told")


def forces(seed: int = 0, weights: int = 400) -> LayerForces:
    """Return a layer, half of whose weights every sample pulls at, the other half samples at random."""
    rng = np.random.default_rng(seed)
    shared = np.where(np.arange(weights) < weights // 2, 1.0, 0.0)
    g = shared + rng.normal(size=(SAMPLES, weights))
    return LayerForces("fc", rng.normal(size=weights), g.mean(0), np.square(g).mean(0))


def measured(layer: LayerForces, trained: TrainedDecay | Skipped = UNKNOWN) -> BackgroundForce:
    found = background_force([layer], SAMPLES, trained)
    assert isinstance(found, BackgroundForce)
    return found


@given(st.integers(0, 50))
def test_what_samples_share_is_distinguished_from_chance(seed: int) -> None:
    layer = forces(seed)
    coherent = layer.coherent(SAMPLES)
    assert coherent[:200].mean() > 0.99
    assert coherent[200:].mean() < 0.15  # one in twenty, and chance
    found = measured(layer)
    assert found.l2.low < found.l2.high
    assert found.l1.low < found.l1.high


def test_shares_and_ratios_are_those_of_the_forces() -> None:
    layer, decay = forces(), 0.3
    found = measured(layer, TrainedDecay(decay, True, False))
    wins = decay * np.abs(layer.weight) > np.abs(layer.mean)
    coherent = SAMPLES * layer.mean**2 > CHI2_95 * layer.mean_square
    (one,) = found.layers
    assert found.l2_at == decay
    assert (one.lost, found.lost_coherent) == (wins.mean(), wins[coherent].mean())
    assert found.lost_incoherent == wins[~coherent].mean()
    assert one.ratio == pytest.approx(np.linalg.norm(decay * layer.weight) / np.linalg.norm(layer.mean))
    l1 = np.linalg.norm(found.l1_at * np.sign(layer.weight)) / np.linalg.norm(layer.mean)
    assert one.l1_ratio == pytest.approx(l1)
    assert one.l1_lost == (found.l1_at > np.abs(layer.mean)).mean()
    at_low = measured(layer, TrainedDecay(found.l2.low * (1 + 1e-9), True, False))
    assert at_low.lost_incoherent == pytest.approx(0.5, abs=0.01)


def test_noise_alone_gives_no_range() -> None:
    """Independent gradients without anything in common: one weight in twenty is coherent, by chance."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        g = rng.normal(size=(SAMPLES, 400))
        layer = LayerForces("fc", rng.normal(size=400), g.mean(0), np.square(g).mean(0))
        found = background_force([layer], SAMPLES, UNKNOWN)
        assert isinstance(found, Skipped)
        assert "chance makes up to 13" in found.reason


def test_weights_that_share_activations_rarely_give_a_range_by_chance() -> None:
    """Weights of one layer are no independent draws: g_i = δ_i a_iᵀ, with random δ_i and few kinds of a_i."""
    ranges = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a = np.maximum(0, rng.normal(size=(SAMPLES, 3)) @ rng.normal(size=(3, 30)))
        delta = rng.normal(size=(SAMPLES, 20))
        g = (delta[:, :, None] * a[:, None]).reshape(SAMPLES, -1)
        layer = LayerForces("fc", rng.normal(size=600), g.mean(0), np.square(g).mean(0))
        ranges += isinstance(background_force([layer], SAMPLES, UNKNOWN), BackgroundForce)
    assert ranges <= 10


@given(st.floats(1e-6, 10), st.floats(1.01, 10))
def test_a_stronger_decay_wins_over_more_weights(decay: float, factor: float) -> None:
    weak, strong = (measured(forces(), TrainedDecay(value, True, False)) for value in (decay, decay * factor))
    assert weak.lost_coherent <= strong.lost_coherent
    assert weak.layers[0].lost <= strong.layers[0].lost


def test_the_advice_places_the_trained_decay() -> None:
    found = measured(forces())
    middle = found.l2_at
    assert "unknown" in found.advice
    assert "Nothing to do" in measured(forces(), TrainedDecay(middle, True, False)).advice
    assert "try more" in measured(forces(), TrainedDecay(found.l2.low / 2, True, False)).advice
    assert "try less" in measured(forces(), TrainedDecay(found.l2.high * 2, True, False)).advice
    nothing = measured(forces(), TrainedDecay(0.0, True, False))
    assert "no weight decay" in nothing.advice
    apart = measured(forces(), TrainedDecay(9.0, True, True))
    assert "AdamW" in apart.advice
    assert apart.l2_at == middle


def test_dead_weights_and_too_few_kinds_are_left_out() -> None:
    layer = forces()
    dead = LayerForces("dead", np.ones(5), np.zeros(5), np.zeros(5))
    found = background_force([dead, layer], SAMPLES, UNKNOWN)
    assert found == background_force([layer], SAMPLES, UNKNOWN)
    assert isinstance(background_force([dead], SAMPLES, UNKNOWN), Skipped)
    same = LayerForces("fc", np.ones(5), np.ones(5), np.ones(5))
    nothing = background_force([same], SAMPLES, UNKNOWN)
    assert isinstance(nothing, Skipped)
    assert "every weight" in nothing.reason


def saved(path: Path, optimizer: Any, model: nn.Module) -> TrainedDecay | Skipped:
    torch.save({"model": model.state_dict(), "optimizer": optimizer}, path)
    return decay_of(load_checkpoint(path))


def test_the_decay_comes_from_the_optimizers_groups(tmp_path: Path) -> None:
    model, path = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), tmp_path / "model.pt"
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    nn.functional.cross_entropy(model(torch.randn(5, 3)), torch.zeros(5).long()).backward()
    sgd.step()
    assert saved(path, sgd.state_dict(), model) == TrainedDecay(0.01, True, False)
    groups = [
        {"params": model[0].parameters(), "weight_decay": 0.1},
        {"params": model[1].parameters(), "weight_decay": 0},
    ]
    adam = torch.optim.AdamW(groups, 0.1)
    adam.step()
    state = adam.state_dict()
    if "decoupled_weight_decay" in state["param_groups"][0]:
        assert saved(path, state, model) == TrainedDecay(0.1, False, True)
    for group in state["param_groups"]:
        group.pop("decoupled_weight_decay", None)
    older = saved(path, state, model)
    assert isinstance(older, Skipped)
    assert "AdamW" in older.reason
    torch.save(model.state_dict(), path)
    assert isinstance(decay_of(load_checkpoint(path)), Skipped)
