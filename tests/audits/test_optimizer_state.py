"""The optimizer's state: the coherence over time of gradients that are known, and whose moments are whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.optimizers import trained
from torch import nn

from cohaudit.audits.optimizer_state import (
    Moments,
    moments_by_name,
    noise_left,
    temporal_coherence,
)


def simulated(
    steady: float, steps: int, *, betas: tuple[float, float] = (0.9, 0.999), size: int = 20_000
) -> Moments:
    """Return what torch's Adam keeps of gradients with a known share of steady energy."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(size))
    optimizer = torch.optim.Adam([weight], lr=0.0, betas=betas)
    direction = torch.randn(size)
    for _ in range(steps):
        weight.grad = steady**0.5 * direction + (1 - steady) ** 0.5 * torch.randn(size)
        optimizer.step()
    (moments,) = moments_by_name(optimizer.state_dict(), {"w": weight}).values()
    return moments


@pytest.mark.parametrize("steps", [2, 5, 30, 300])
@pytest.mark.parametrize("steady", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_steady_energy_is_found_at_any_step(steady: float, steps: int) -> None:
    assert temporal_coherence([simulated(steady, steps)]) == pytest.approx(steady, abs=0.03)


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.9), (0.99, 0.999)])
def test_it_is_found_with_other_betas(betas: tuple[float, float]) -> None:
    found = temporal_coherence([simulated(0.3, 60, betas=betas)])
    # without momentum there is no average, so nothing can be told from noise
    assert found is None if betas[0] == 0 else found == pytest.approx(0.3, abs=0.05)


@given(st.floats(0.01, 0.999), st.integers(1, 10_000))
def test_the_noise_left_falls_with_the_steps_to_its_limit(beta: float, steps: int) -> None:
    left, later = noise_left(beta, steps), noise_left(beta, steps + 1)
    assert (1 - beta) / (1 + beta) - 1e-9 <= later <= left + 1e-12
    assert noise_left(beta, 1) == pytest.approx(1)


@settings(max_examples=20)
@given(st.floats(1e-6, 1e6))
def test_the_scale_of_the_gradients_does_not_matter(scale: float) -> None:
    known = simulated(0.5, 10, size=200)
    assert known.first is not None
    assert known.second is not None
    scaled = Moments(known.first.double() * scale, known.second.double() * scale**2, known.steps, known.betas)
    assert temporal_coherence([scaled]) == pytest.approx(temporal_coherence([known]), rel=1e-6)


def test_parameters_together_are_weighted_by_their_energy() -> None:
    noise, constant = simulated(0.0, 50), simulated(1.0, 50)
    assert temporal_coherence([noise, constant]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("decay", [0.01, 0.1])
@pytest.mark.parametrize("steady", [0.0, 0.5])
def test_weight_decay_that_is_coupled_is_taken_out(steady: float, decay: float) -> None:
    """Decay is a steady pull on noise, and cancels a steady gradient once the weights have settled."""
    torch.manual_seed(0)
    weight = nn.Parameter(0.05 * torch.randn(4000))
    optimizer = torch.optim.Adam([weight], 1e-3, weight_decay=decay)
    direction = torch.randn(4000)
    for _ in range(300):
        weight.grad = 0.014 * (steady**0.5 * direction + (1 - steady) ** 0.5 * torch.randn(4000))
        optimizer.step()
    state = optimizer.state_dict()
    moments = list(moments_by_name(state, {"w": weight.detach()}).values())
    assert temporal_coherence(moments) == pytest.approx(steady, abs=0.1)
    if steady:
        as_stored = [replace(one, decay=None) for one in moments]
        assert temporal_coherence(as_stored) == pytest.approx(0.4 if decay < 0.1 else 0.0, abs=0.1)


def test_decay_beside_the_gradient_or_of_an_unknown_kind_is_left_alone() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], 1e-3, weight_decay=0.1)
    weight.grad = torch.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    assert moments_by_name(state, {"w": weight.detach()})["w"].decay is None
    state["param_groups"][0].pop("decoupled_weight_decay", None)
    assert moments_by_name(state, {"w": weight.detach()})["w"].decay is None


def test_batches_without_replacement_lower_the_figure_of_noise_a_little() -> None:
    """The assumption of independent steps: an epoch of ten batches sums to the same gradient each time."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(4000))
    optimizer = torch.optim.Adam([weight], 0.0)
    batches = torch.randn(10, 4000)
    batches -= batches.mean(0)
    for _ in range(30):
        for batch in torch.randperm(10):
            weight.grad = batches[batch]
            optimizer.step()
    found = temporal_coherence(list(moments_by_name(optimizer.state_dict(), {"w": weight.detach()}).values()))
    assert found is not None
    assert -0.06 < found < -0.02


def test_a_single_step_has_no_coherence() -> None:
    assert temporal_coherence([simulated(0.5, 1)]) is None
    assert temporal_coherence([]) is None


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam])
def test_moments_find_their_parameters_past_the_buffers(kind: Any) -> None:
    model, optimizer = trained(kind)
    found = moments_by_name(optimizer.state_dict(), model.state_dict())
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert found[name].first is optimizer.state[parameter]["exp_avg"]


def test_names_that_the_optimizer_knows_win_over_the_order() -> None:
    model, optimizer = trained(torch.optim.Adam)
    state = optimizer.state_dict()
    names = [name for name, _ in model.named_parameters()]
    state["param_groups"][0]["param_names"] = names
    state["param_groups"][0]["params"] = state["param_groups"][0]["params"]
    assert list(moments_by_name(state, model.state_dict())) == names
