"""The coherent sub-network: what is told of a unit against its definition, and units that are silenced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit
from support.cases import ALL_CASES, make
from support.networks import Apply, attention
from support.oracle import CPU, LABELS, options, oracle, source
from torch import nn

from cohaudit.audits.unit_ablation import (
    FORWARD_PASSES,
    hidden_units,
    mask,
    measured_units,
    only,
    sub_networks,
)
from cohaudit.audits.width import (
    SHARES,
    coherent_energy,
    coherent_width,
    pairwise_coherence,
    participation,
    smallest_set,
)
from cohaudit.errors import ReportError
from cohaudit.gradients import weight_sums
from cohaudit.results import CoherentWidth, LayerUnits, Skipped, SubNetwork
from cohaudit.review import export as exporting

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

ENERGIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def units(name: str) -> tuple[Any, Any, Any]:
    model, inputs = make(name)
    sums = weight_sums(model, source(inputs), options(), CPU, lambda count: None)
    layers = hidden_units(model, sums)
    return model, layers, measured_units(layers, sums)


@pytest.mark.parametrize(("name", "hidden"), [("perceptron", 2), ("conv2d grouped", 1), ("attention", 1)])
def test_a_unit_is_told_what_its_samples_pairs_give(name: str, hidden: int) -> None:
    _, layers, measured = units(name)
    grads = oracle(*make(name))
    assert len(measured) == hidden
    for layer, found in zip(layers, measured, strict=True):
        energies = []
        for unit, coherence in enumerate(found.coherence):
            own = torch.cat([grads[n][:, layer.unit == unit].flatten(1) for n in layer.parameters], 1).numpy()
            pairs = own @ own.T
            np.fill_diagonal(pairs, 0)
            expected = pairs.sum() / (len(own) - 1) / np.square(own).sum()
            assert coherence == pytest.approx(expected, abs=2e-6)
            energies.append(max(0.0, pairs[LABELS[:, None] == LABELS].sum()))
        np.testing.assert_allclose(found.energy, np.array(energies) / sum(energies), atol=1e-12)


@given(ENERGIES)
def test_participation_lies_between_one_unit_and_all(energies: list[float]) -> None:
    found = participation(np.array(energies))
    if max(energies) == 0:
        assert found == 0
    else:
        assert 1 / len(energies) <= found * (1 + 1e-9)
        assert found <= 1 + 1e-9


def test_participation_of_equal_units_is_one_and_of_a_single_one_its_share() -> None:
    assert participation(np.full(7, 3.0)) == pytest.approx(1)
    assert participation(np.array([0, 0, 5.0, 0])) == pytest.approx(1 / 4)


@given(ENERGIES, st.floats(0.05, 1))
def test_no_smaller_set_holds_the_share(energies: list[float], share: float) -> None:
    kept, values = smallest_set(energies, share), np.array(energies)
    if values.sum() == 0:
        assert len(kept) == len(values)
        return
    assert values[kept].sum() >= share * values.sum() * (1 - 1e-9)
    strongest = np.sort(values)[::-1]
    # equal where half of the smallest number there is rounds to 0
    assert strongest[: len(kept) - 1].sum() <= share * values.sum() * (1 + 1e-9)
    assert (np.diff(kept) > 0).all()


@given(st.integers(2, 12), st.integers(0, 99))
def test_pairwise_coherence_is_the_mean_product_of_two_samples(samples: int, seed: int) -> None:
    g = np.random.default_rng(seed).normal(size=(samples, 3))
    sums, squares = np.array([np.square(g.sum(0)).sum()]), np.array([np.square(g).sum()])
    products = g @ g.T
    others = (products.sum() - np.trace(products)) / (samples - 1) / np.trace(products)
    assert pairwise_coherence(sums, squares, samples)[0] == pytest.approx(others, abs=1e-12)


def test_a_unit_without_a_gradient_has_neither_coherence_nor_energy() -> None:
    nothing = np.zeros(2)
    assert pairwise_coherence(nothing, nothing, 5).tolist() == [0, 0]
    assert coherent_energy(nothing, nothing + 1).tolist() == [0, 0]


@pytest.mark.parametrize("name", ALL_CASES)
def test_only_some_units_are_heard_and_the_weights_come_back(name: str) -> None:
    model, inputs = make(name)
    sums = weight_sums(model, source(inputs), options(batch_size=9), CPU, lambda count: None)
    layers = hidden_units(model, sums)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept = {layer.name: np.arange(layer.count // 2) for layer in layers}
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(layer.name).register_forward_hook(
            lambda module, given, out, layer=layer: outputs.__setitem__(layer.name, out)
        )
        for layer in layers
        if layer.kind != "heads"
    ]

    def fail() -> None:
        with only(model, layers, kept), torch.no_grad():
            model(*inputs) if isinstance(inputs, tuple) else model(inputs)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for hook in hooks:
        hook.remove()
    for layer in layers:
        if layer.name in outputs:
            silent = np.setdiff1d(np.arange(layer.count), kept[layer.name])
            out = outputs[layer.name]
            moved = out.movedim(-1 if layer.kind == "units" else -len(out.shape) + 1, 0)
            assert not moved[silent].any()
            assert moved.any()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_silent_head_gives_what_the_others_give() -> None:
    torch.manual_seed(0)
    model = attention().double().eval()
    x = torch.randn(9, 4, 8, dtype=torch.float64)
    sums = weight_sums(model, source(x), options(), CPU, lambda count: None)
    (layer,) = hidden_units(model, sums)
    assert (layer.kind, layer.count) == ("heads", 2)
    attend = model.attend
    q, k, v = (x @ attend.in_proj_weight.T + attend.in_proj_bias).chunk(3, -1)
    first = torch.softmax(q[..., :4] @ k[..., :4].mT / 2, -1) @ v[..., :4]
    expected = model.head((first @ attend.out_proj.weight[:, :4].T + attend.out_proj.bias).mean(1))
    with only(model, [layer], {"attend": np.array([0])}):
        found = model(x)
    torch.testing.assert_close(found, expected)


def test_the_output_tied_frozen_and_parametrized_layers_are_no_hidden_units() -> None:
    assert [one.name for one in units("embedding tied to the head")[1]] == []
    assert [one.name for one in units("frozen first layer")[1]] == ["2"]
    assert [one.name for one in units("parametrized weight")[1]] == []
    assert [one.name for one in units("LSTM")[1]] == []


def test_sub_networks_are_measured_and_the_passes_counted() -> None:
    model, inputs = make("perceptron")
    sums = weight_sums(model, source(inputs), options(), CPU, lambda count: None)
    layers = hidden_units(model, sums)
    done: list[int] = []
    measured = measured_units(layers, sums)
    found = sub_networks(model, source(inputs), layers, measured, options(), CPU, done.append)
    assert sum(done) == FORWARD_PASSES * len(LABELS)
    for one, share in zip(found, SHARES, strict=True):
        kept = {layer.name: smallest_set(layer.energy, share) for layer in measured}
        with only(model, layers, kept), torch.no_grad():
            given = model(inputs).argmax(1).numpy()
        assert one.accuracy == np.mean(given == LABELS)
        assert one.units == sum(len(own) for own in kept.values())


def width(*tried: tuple[float, int, float, float]) -> str:
    layer = LayerUnits("fc", "units", (0.1,) * 100, (0.01,) * 100, 1.0, tuple(range(90)))
    found = coherent_width([layer], 0.99, [SubNetwork(*one) for one in tried])
    assert isinstance(found, CoherentWidth)
    return found.advice


def test_the_advice_follows_what_was_measured() -> None:
    assert "nothing to cut" in width((0.9, 50, 0.7, 0.5), (0.99, 80, 0.9, 0.8))
    assert "nothing to cut" in width((0.9, 98, 0.99, 0.99), (0.99, 100, 0.99, 0.99))
    assert "80 of 100 hidden units hold 99%" in width((0.9, 50, 0.7, 0.5), (0.99, 80, 0.985, 0.8))
    assert "train a narrower one" in width((0.9, 50, 0.99, 0.985), (0.99, 80, 0.99, 0.99))
    assert isinstance(coherent_width([], 0.9, []), Skipped)


def test_the_mask_keeps_what_the_layer_keeps() -> None:
    audit = make_audit()
    found = audit.audits.width
    assert isinstance(found, CoherentWidth)
    for layer in found.layers:
        kept = mask(found, 0.9)[layer.name]
        assert kept.nonzero().flatten().tolist() == smallest_set(layer.energy, 0.9).tolist()
    listed = json.loads(exporting.export(audit, "mask"))
    assert listed["0.9"] == {name: m.nonzero().flatten().tolist() for name, m in mask(found).items()}
    assert set(listed) == {str(share) for share in SHARES}
    nothing = replace(audit, audits=replace(audit.audits, width=Skipped("width", "not asked for")))
    with pytest.raises(ReportError, match="not asked for"):
        exporting.export(nothing, "mask")


def test_a_network_of_one_layer_has_no_hidden_units() -> None:
    model = Apply(lambda net, x: net.head(x), head=nn.Linear(5, 3)).double()
    sums = weight_sums(model, source(torch.randn(9, 5).double()), options(), CPU, lambda count: None)
    assert hidden_units(model, sums) == ()
