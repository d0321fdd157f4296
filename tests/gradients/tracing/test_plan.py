"""The paths on which layers are measured, and networks whose path depends on the data."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import (
    CPU,
    LABELS,
    assert_exact,
    layer_squares,
    measured_case,
    options,
    oracle,
    run,
)
from torch import Tensor, nn

from cohaudit.gradients import Source, measure

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


@pytest.mark.parametrize("name", ALL_CASES)
def test_each_layer_takes_its_path(name: str) -> None:
    paths = {layer.name: layer.path for layer in measured_case(name).layers}
    assert paths == {layer: ALL_CASES[name].paths.get(layer, "closed form") for layer in paths}
    assert set(ALL_CASES[name].paths) <= set(paths)


class Routed(nn.Module):
    """Each sample goes through one of two experts; the first samples all take the same."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(5, 6), nn.Linear(5, 6)])
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 6)
        for expert, rows in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if rows.any():
                hidden = hidden.index_put((rows,), torch.tanh(expert(x[rows])))
        return self.head(torch.tanh(self.mix(hidden)))


class Ragged(nn.Module):
    """Sequences without their padding, one after the other, as packed or flattened sequences are."""

    def __init__(self, packs: bool) -> None:
        super().__init__()
        self.packs = packs
        self.lift = nn.Linear(5, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        own = x[:, :, 0] != 0
        if self.packs:
            packed = nn.utils.rnn.pack_padded_sequence(x, own.sum(1), batch_first=True, enforce_sorted=False)
            rows = packed._replace(data=torch.tanh(self.lift(packed.data)))
            return self.head(nn.utils.rnn.pad_packed_sequence(rows, batch_first=True)[0].sum(1))
        hidden = x.new_zeros(*x.shape[:2], 6)
        return self.head(hidden.index_put((own,), torch.tanh(self.lift(x[own]))).sum(1))


@pytest.mark.parametrize("packs", [False, True])
def test_sequences_of_different_lengths_one_after_the_other_are_measured_by_the_loop(packs: bool) -> None:
    torch.manual_seed(3)
    model, inputs = Ragged(packs).double().eval(), torch.randn(SAMPLES, 3, 5).double()
    # the samples that the plan is made with have one length, and all together twice as many rows as samples
    for sample, length in enumerate([2, 1, 3, 1, 2, 3, 1, 3, 2]):
        inputs[sample, length:] = 0
    measured = run(model, inputs, batch_size=SAMPLES)
    assert_exact(measured, oracle(model, inputs), 1e-9)
    assert {layer.name: layer.path for layer in measured.layers}["lift"] == "loop"


@pytest.mark.parametrize("first", [1.0, 0.0])
def test_a_path_that_depends_on_the_data_is_measured_by_the_loop(first: float) -> None:
    torch.manual_seed(3)
    model, inputs = Routed().double().eval(), torch.randn(SAMPLES, 5).double()
    if first:
        inputs[[0, 4, 8], 0] = 1.0  # the samples that the plan is made with
    measured = run(model, inputs)
    grads = oracle(model, inputs)
    np.testing.assert_allclose(
        measured.squared_norms, layer_squares(measured, grads, lambda g: g), rtol=1e-10, atol=1e-25
    )
    paths = {layer.name: layer.path for layer in measured.layers}
    assert paths["experts.0"] == "loop"
    assert paths["mix"] == paths["head"] == "closed form"


def test_sequences_of_another_length_than_the_first_are_measured() -> None:
    """Batches may be padded to different lengths: what is folded into the batch follows."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double()
    net = Apply(
        lambda n, x: n.head(n.body(x.reshape(-1, 5)).reshape(len(x), -1, 6).sum(1)),
        body=body,
        head=nn.Linear(6, CLASSES),
    ).double()
    inputs = torch.randn(SAMPLES, 4, 5).double()
    inputs[:, 2:] = 0
    loads: list[int] = []

    def load(indices: Any) -> Tensor:
        loads.append(len(indices))
        padded = inputs[list(indices)]
        return torch.cat([padded, torch.zeros(len(padded), len(loads) % 3, 5).double()], 1)

    net.body[0].bias.requires_grad_(False).zero_()  # so that padding adds nothing
    expected = run(net, inputs).squared_norms
    data = Source(load, LABELS, [str(i) for i in range(SAMPLES)], ["a", "b", "c"])
    found = measure(net, data, options(), CPU, lambda count: None)
    np.testing.assert_allclose(found.squared_norms, expected, rtol=1e-10)
    assert {layer.path for layer in found.layers} == {"closed form"}


def test_frozen_and_unused_parameters_are_named() -> None:
    model, inputs = make("frozen first layer")
    model.add_module("spare", nn.Linear(2, 2).double())
    model.spare.forward = lambda x: x  # type: ignore[method-assign]  # takes no part: the input passes through
    measured = run(model, inputs)
    reasons = {skip.name: skip.reason for skip in measured.skipped}
    assert set(reasons) == {
        "parameter 0.weight",
        "parameter 0.bias",
        "parameter spare.weight",
        "parameter spare.bias",
    }
    assert "frozen" in reasons["parameter 0.weight"]
    assert "no part" in reasons["parameter spare.bias"]
    trainable = [p.numel() for n, p in model.named_parameters() if p.requires_grad]
    assert measured.certificate.parameter_coverage == pytest.approx(1 - 6 / sum(trainable))


@pytest.mark.slow
def test_measuring_does_not_depend_on_how_a_set_is_sorted() -> None:
    """The order of a set of strings depends on the hash seed, which differs between processes."""
    script = """
from support.oracle import measured_case
measured = measured_case("LSTM on packed sequences")
print(measured.squared_norms.tobytes().hex(), measured.sketches.tobytes().hex(), measured.layers)
"""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on their number
    other_seed = {"PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"}
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | threads | other_seed | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    measured = measured_case("LSTM on packed sequences")
    own = f"{measured.squared_norms.tobytes().hex()} {measured.sketches.tobytes().hex()} {measured.layers}"
    assert printed.strip() == own
