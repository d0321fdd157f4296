"""Untrained copies: anew in every call, from a factory or by resetting; never trained, never shared."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from support.crossfits import build
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from cohaudit.config import Config
from cohaudit.errors import ConfigError, ModelError
from cohaudit.pipeline.crossfit.retraining import retraining_in_memory
from cohaudit.pipeline.crossfit.untrained import (
    by_reset,
    from_factory,
    refuse_trained,
    same_weights,
)

BASE = Config().base


def trained() -> nn.Module:
    """Return a network with other values in every parameter and buffer."""
    network: nn.Module = build()
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.add_(1)
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


@pytest.mark.parametrize("make", ["factory", "reset"])
def test_a_copy_is_untrained_and_follows_its_seed(make: str) -> None:
    model = trained()
    before = state(model)
    untrained = from_factory(build, BASE) if make == "factory" else by_reset(model)
    first, again, other = (untrained(seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(state(first).values(), state(again).values(), strict=True))
    assert not torch.equal(first.get_parameter("0.weight"), other.get_parameter("0.weight"))
    assert torch.equal(first.get_buffer("1.running_var"), torch.ones(16))
    assert torch.equal(first.get_parameter("1.bias"), torch.zeros(16))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), state(model).values(), strict=True))
    refuse_trained(first, other, model, "factory")
    assert not same_weights(first, other)


def test_layers_of_torch_that_reset_themselves_privately_are_reset() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 3))
    name = "0.self_attn.in_proj_weight"
    assert not torch.equal(by_reset(model)(3).get_parameter(name), model.get_parameter(name))


class Scale(nn.Module):
    """A layer with a bare parameter, as many models have."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class Forgetful(nn.Linear):
    """A layer that only seems to reset itself."""

    def reset_parameters(self) -> None:
        if not hasattr(self, "weight_was_drawn"):
            self.weight_was_drawn = True
            super().reset_parameters()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 3), Scale()), r"1 \(Scale\) has no reset_parameters"),
        (lambda: parametrizations.weight_norm(nn.Linear(5, 3)), "has no reset_parameters"),
        (lambda: Forgetful(5, 3), "weight keeps its trained values"),
    ],
    ids=["bare parameter", "parametrization", "forgetful"],
)
def test_what_cannot_be_reset_needs_a_factory(make: Callable[[], nn.Module], found: str) -> None:
    with pytest.raises(ConfigError, match=found) as refused:
        by_reset(make())(0)
    assert "factory=build" in refused.value.remedy


def test_a_factory_must_build_a_new_untrained_network_in_every_call() -> None:
    model = trained()
    shared = build()
    with pytest.raises(ModelError, match="two calls return models that share their weights"):
        refuse_trained(shared, nn.Sequential(shared), model, "model net.py:build")
    with pytest.raises(ModelError, match="shares its weights with the scanned one"):
        refuse_trained(model, build(), model, "model net.py:build")
    with pytest.raises(ModelError, match="returns the trained weights that are scanned"):
        refuse_trained(copy.deepcopy(model), copy.deepcopy(model), model, "model net.py:build")


def test_pretrained_weights_may_stay() -> None:
    body = nn.Linear(5, 4).requires_grad_(False)
    model, first, second = (nn.Sequential(body, nn.Linear(4, 3)) for _ in range(3))
    refuse_trained(first, second, model, "factory")
    tuned, one, other = (nn.Sequential(copy.deepcopy(body).requires_grad_(), nn.Linear(4, 3)) for _ in "abc")
    refuse_trained(one, other, tuned, "factory")


@pytest.mark.parametrize(
    ("factory", "error", "found"),
    [
        (3, ConfigError, "found a int, not a function that returns a network"),
        (nn.Linear(2, 2), ConfigError, "found a Linear, not a function"),
        (lambda: 3, ModelError, "returns int, not a torch.nn.Module"),
        (lambda width: nn.Linear(2, width), ConfigError, "the arguments do not fit"),
    ],
)
def test_what_is_no_factory_is_refused(factory: object, error: type[Exception], found: str) -> None:
    with pytest.raises(error, match=found):
        from_factory(factory, BASE)(0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["factory", "fit"])
def test_functions_without_a_crossfit_are_refused(name: str) -> None:
    given = {"factory": None, "fit": None, name: build}
    with pytest.raises(ConfigError, match=f"{name}: has no effect without a cross-fit"):
        retraining_in_memory(Config(), build(), given["factory"], given["fit"])


@pytest.mark.parametrize(
    ("fit", "found"), [(7, "found a int, not a function"), (lambda model: None, "does not take a model")]
)
def test_what_cannot_train_is_refused_at_once(fit: object, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as refused:
        retraining_in_memory(Config(crossfit=5), build(), build, fit)  # type: ignore[arg-type]
    assert refused.value.remedy == "define it as: def fit(model, dataset)"
