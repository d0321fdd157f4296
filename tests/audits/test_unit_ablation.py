"""Hidden units: against plain autograd, and networks with some of them ablated."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
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
from cohaudit.audits.width import coherent_energy
from cohaudit.errors import ReportError
from cohaudit.gradients import weight_sums
from cohaudit.results import CoherentWidth, Skipped
from cohaudit.results.sub_network import SUB_NETWORK_SHARES, smallest_set
from cohaudit.review import export as exporting

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


def units(name: str) -> tuple[Any, Any, Any]:
    model, inputs = make(name)
    sums = weight_sums(model, source(inputs), options(), CPU, lambda count: None)
    layers = hidden_units(model, sums)
    return model, layers, measured_units(layers, sums)


@pytest.mark.parametrize(("name", "hidden"), [("perceptron", 2), ("conv2d grouped", 1), ("attention", 1)])
def test_coherence_and_energy_of_a_unit_are_those_of_pairs_of_samples(name: str, hidden: int) -> None:
    _, layers, measured = units(name)
    grads = oracle(*make(name))
    assert len(measured) == hidden
    for layer, found in zip(layers, measured, strict=True):
        energies, squares = [], []
        for unit, coherence in enumerate(found.coherence):
            own = torch.cat([grads[n][:, layer.unit == unit].flatten(1) for n in layer.parameters], 1).numpy()
            pairs = own @ own.T
            np.fill_diagonal(pairs, 0)
            expected = pairs.sum() / (len(own) - 1) / np.square(own).sum()
            assert coherence == pytest.approx(expected, abs=2e-6)
            energies.append(pairs[LABELS[:, None] == LABELS].sum())
            squares.append(np.square(own).sum())
        # three classes of three samples each: the effective number of classes is 3
        counted = coherent_energy(np.add(energies, squares), np.array(squares), 3.0)
        np.testing.assert_allclose(found.energy, counted / (counted.sum() or 1), atol=1e-12)


@pytest.mark.parametrize("name", ALL_CASES)
def test_other_units_are_ablated_and_the_weights_restored(name: str) -> None:
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


def test_without_a_head_the_output_is_that_of_the_others() -> None:
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
    found = sub_networks(
        model, source(inputs), layers, measured, options=options(), device=CPU, advance=done.append
    )
    assert sum(done) == FORWARD_PASSES * len(LABELS)
    for one, share in zip(found, SUB_NETWORK_SHARES, strict=True):
        kept = {layer.name: smallest_set(layer.energy, share) for layer in measured}
        with only(model, layers, kept), torch.no_grad():
            given = model(inputs).argmax(1).numpy()
        assert one.accuracy == np.mean(given == LABELS)
        assert one.units == sum(len(own) for own in kept.values())


def test_the_mask_keeps_what_the_layer_keeps() -> None:
    audit = make_audit()
    found = audit.audits.width
    assert isinstance(found, CoherentWidth)
    for layer in found.layers:
        kept = mask(found, 0.9)[layer.name]
        assert kept.nonzero().flatten().tolist() == smallest_set(layer.energy, 0.9).tolist()
    listed = json.loads(exporting.export(audit, "mask"))
    assert listed["0.9"] == {name: m.nonzero().flatten().tolist() for name, m in mask(found).items()}
    assert set(listed) == {str(share) for share in SUB_NETWORK_SHARES}
    nothing = replace(audit, audits=replace(audit.audits, width=Skipped("width", "not asked for")))
    with pytest.raises(ReportError, match="not asked for"):
        exporting.export(nothing, "mask")


def test_a_network_of_one_layer_has_no_hidden_units() -> None:
    model = Apply(lambda net, x: net.head(x), head=nn.Linear(5, 3)).double()
    sums = weight_sums(model, source(torch.randn(9, 5).double()), options(), CPU, lambda count: None)
    assert hidden_units(model, sums) == ()
