"""Coordinates of every sample's gradient: against plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import CLASSES
from support.single_gradients import CPU, OPTIONS, everything, one_by_one, source
from torch import nn

from cohaudit.gradients.passes.coordinates import gradient_coordinates

LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0])


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
