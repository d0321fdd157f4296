"""Where a network's memory is: the interventions of the benchmark on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.audits.localization import agreements
from benchmarks.audits.localization_interventions import (
    Switches,
    margins_of,
    rewound,
    train_on,
    units_that_flip,
    without_units,
)
from benchmarks.audits.localization_networks import Segment, named_place, segments_of
from benchmarks.shared.label_noise import NoisyData


@pytest.fixture
def data() -> NoisyData:
    torch.manual_seed(0)
    inputs = torch.randn(60, 4)
    truth = (inputs[:, 0] > 0).long()
    labels = truth.clone()
    labels[:10] = 1 - labels[:10]
    return NoisyData(inputs, labels, truth, inputs, truth, 2)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).eval()


SEGMENTS = tuple(Segment((name,), 0.0, 0.0) for name in ("0", "2", "4"))


def test_segments_lie_between_the_views_and_a_layer_before_them_has_its_own() -> None:
    layers = ["embed", "a", "b", "c"]
    found = segments_of(layers, ["a", "a", "c"], np.array([0.1, 0.3, 0.6, 0.9]))
    assert [one.layers for one in found] == [("embed",), ("a", "b"), ("c",)]
    assert [(one.before, one.after) for one in found] == [(0.0, 0.3), (0.3, 0.6), (0.6, 0.9)]
    assert named_place(found, 100) == 2
    assert named_place(found, 5) is None


def test_the_importance_of_a_unit_is_the_slope_of_the_margin_with_its_activation(
    model: nn.Sequential, data: NoisyData
) -> None:
    model = model.double()
    inputs = data.train[:1].double()
    labels = data.labels[:1]
    switches = Switches(model)
    switches.values = {name: value.double() for name, value in switches.values.items()}
    found = switches.importance(inputs, labels)["2"][0]
    for unit in range(5):
        changed = []
        for step in (-1e-5, 1e-5):
            switches.values["2"] = torch.ones(1, 5).double()
            switches.values["2"][0, unit] += step
            changed.append(margins_of(switches.forward(inputs), labels).item())
        assert found[unit].item() == pytest.approx((changed[1] - changed[0]) / 2e-5, abs=1e-8)


def test_rewinding_all_parts_gives_the_earlier_network_and_one_part_leaves_the_others(
    model: nn.Sequential, data: NoisyData
) -> None:
    torch.manual_seed(2)
    earlier = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    whole = Segment(("0", "2", "4"), 0.0, 0.0)
    assert all(
        torch.equal(value, earlier[name])
        for name, value in rewound(model, whole, earlier, data).state_dict().items()
    )
    one = rewound(model, SEGMENTS[1], earlier, data).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(one[name], earlier[name] if name.startswith("2.") else value)


def test_frozen_parts_stay_and_decayed_ones_shrink(model: nn.Sequential, data: NoisyData) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in train_on(model, data, 2, frozen=[SEGMENTS[1]]):
        pass
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("2.")


def test_dropped_units_change_answers_and_a_part_without_units_is_left_out(
    model: nn.Sequential, data: NoisyData
) -> None:
    assert without_units(model, SEGMENTS[2], data, data.wrong) is None
    found = without_units(model, SEGMENTS[0], data, data.wrong)
    assert found is not None
    given = (model(data.train).argmax(1) == data.labels).nonzero()[:8, 0]
    counts, off = units_that_flip(model, data, given)
    assert (counts >= 1).all()
    assert torch.equal(sum(off.values(), torch.zeros(8, dtype=torch.int64)), counts)


def test_an_order_that_is_the_effect_agrees_with_it() -> None:
    case = {"data": "d", "noise": "n", "network": "m", "seed": 0, "stage": "interpolated"}
    rows = []
    for k, (after, lost) in enumerate([(0.2, 0.1), (0.9, 0.6), (1.0, 0.0)]):
        before = [0.0, 0.2, 0.9][k]
        rows.append(case | {"about": "segment", "segment": k, "before": before, "after": after})
        rows[-1] |= {"energy": 1 / 3, "parameters": 10}
        rows.append(case | {"about": "units dropped", "segment": k, "wrong": 1 - lost, "right": 1.0})
    found = agreements(pd.DataFrame(rows)).set_index("order")
    assert found.loc["readable: rise", "spearman"] == pytest.approx(1)
    assert found.loc["readable: rise", "hit"] == 1
    assert found.loc["readable: level", "spearman"] == pytest.approx(-0.5)
