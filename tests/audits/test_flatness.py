"""Answers under noise in the weights, against a closed form, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from cohaudit.audits.flatness import DRAWS, MAX_SAMPLES, NOISE_SIZES, add_noise, flatness, part_of
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.pipeline.scan_run import options_of
from cohaudit.results import Flatness, Skipped

CPU = torch.device("cpu")


def source_of(x: torch.Tensor, classes: int = 2) -> Source:
    return Source(
        load=lambda indices: x[list(indices)],
        labels=np.arange(len(x)) % classes,
        ids=[str(i) for i in range(len(x))],
        class_names=[str(c) for c in range(classes)],
    )


def measured(model: nn.Module, x: torch.Tensor) -> Flatness:
    found = flatness(
        model.eval(), source_of(x), options=options_of(Config()), device=CPU, advance=lambda n: None
    )
    assert isinstance(found, Flatness)
    return found


def two_layers(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))


def test_the_answers_of_a_linear_model_stay_as_often_as_the_normal_distribution_says() -> None:
    torch.manual_seed(0)
    model = nn.Linear(400, 2, bias=False)
    x = torch.randn(MAX_SAMPLES, 400)
    found = measured(model, x)
    with torch.no_grad():
        margin = (model(x)[:, 0] - model(x)[:, 1]).abs()
    # the noise of the two rows adds up, on inputs of length ‖x‖
    rms = model.weight.square().mean().sqrt()
    for one in found.sizes:
        deviation = 2**0.5 * one.size * rms * x.norm(dim=1)
        expected = norm.cdf((margin / deviation).detach().numpy()).mean()
        # a draw in 400 dimensions shifts all samples a little together
        assert one.unchanged == pytest.approx(expected, abs=0.04)
    assert found.unchanged.value == pytest.approx(np.mean([one.unchanged for one in found.sizes]))
    assert found.unchanged.low <= found.unchanged.value <= found.unchanged.high
    assert (found.draws, found.samples) == (DRAWS, MAX_SAMPLES)


def test_rescaling_one_layer_against_the_next_changes_nothing() -> None:
    model = two_layers()
    x = torch.randn(200, 5)
    before = measured(model, x)
    first, _, second = model
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    with torch.no_grad():
        first.weight.mul_(64)
        first.bias.mul_(64)
        second.weight.div_(64)
    assert measured(model, x).unchanged.value == pytest.approx(before.unchanged.value, abs=1e-6)


def test_wide_margins_are_flatter_than_narrow_ones() -> None:
    x = torch.randn(300, 5)
    x[:, 0] = torch.where(x[:, 0] > 0, 1.0, -1.0)
    wide = nn.Linear(5, 2, bias=False)
    narrow = nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        wide.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0]]))
        # the same answers to nearly all, with weights that cancel
        narrow.weight.copy_(torch.tensor([[0.1, 1, 1, 1, 1], [-0.1, 1, 1, 1, 1]]))
    assert measured(wide, x).unchanged.value > measured(narrow, x).unchanged.value + 0.1


@pytest.mark.parametrize("fails", [False, True])
def test_the_weights_are_left_as_they_were(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers()
    before = [p.detach().clone() for p in model.parameters()]
    if fails:
        model[2].register_forward_hook(_infinite_after(2))
        found = flatness(
            model.eval(),
            source_of(torch.randn(40, 5)),
            options=options_of(Config()),
            device=CPU,
            advance=print,
        )
        assert isinstance(found, Skipped)
        assert "not finite" in found.reason
    else:
        measured(model, torch.randn(40, 5))
    assert all(map(torch.equal, model.parameters(), before))


def _infinite_after(calls: int) -> Callable[..., torch.Tensor]:
    count = [0]

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        return output if count[0] < calls else output * float("inf")

    return hook


def test_equal_networks_have_equal_flatness_and_all_samples_count_once() -> None:
    x = torch.randn(64, 5)
    assert measured(two_layers(), x) == measured(two_layers(), x)
    done: list[int] = []
    flatness(two_layers().eval(), source_of(x), options=options_of(Config()), device=CPU, advance=done.append)
    assert sum(done) == 64


def test_a_model_without_weights_is_skipped() -> None:
    found = flatness(
        nn.Flatten().eval(),
        source_of(torch.randn(8, 2)),
        options=options_of(Config()),
        device=CPU,
        advance=print,
    )
    assert isinstance(found, Skipped)


def test_some_samples_are_those_of_the_source_at_their_positions() -> None:
    x = torch.arange(20.0).reshape(10, 2)
    part = part_of(source_of(x), np.array([0, 4, 9]))
    assert torch.equal(part.load([1, 2]), x[[4, 9]])
    assert part.labels.tolist() == [0, 0, 1]
    assert list(part.ids) == ["0", "4", "9"]


def test_noise_has_the_size_of_the_tensor_and_is_the_same_for_the_same_seed() -> None:
    own = [3 * torch.randn(200, 100), torch.zeros(4)]
    weights = [one.clone() for one in own]
    add_noise(weights, own, NOISE_SIZES[1], 7)
    assert float((weights[0] - own[0]).std()) == pytest.approx(NOISE_SIZES[1] * 3, rel=0.03)
    assert torch.equal(weights[1], own[1])
    again = [one.clone() for one in own]
    add_noise(again, own, NOISE_SIZES[1], 7)
    assert all(map(torch.equal, weights, again))
