"""The inputs of layers that are stored for every sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import make
from support.networks import CLASSES, SAMPLES
from support.oracle import (
    run,
)
from torch import Tensor, nn

from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.tracing.plan import MAX_FEATURE_LAYERS


@pytest.mark.parametrize("name", ["conv2d", "ResNet", "VGG"])
def test_activations_are_the_layers_inputs(name: str) -> None:
    model, inputs = make(name)
    assert run(model, inputs).activations == {}
    measured = run(model, inputs, label_free=True)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda m, given, out, name=name: seen.__setitem__(name, given[0].detach())
        )
    model(inputs)
    assert set(measured.activations) == {layer.name for layer in measured.layers}
    for name, rows in measured.activations.items():
        expected = seen[name].flatten(2).mean(2) if seen[name].ndim > 2 else seen[name]
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["conv2d", "ResNet", "VGG"])
def test_views_are_the_inputs_of_a_few_layers(name: str) -> None:
    model, inputs = make(name)
    measured = run(model, inputs, feature_size=100_000)
    seen: dict[str, Tensor] = {}
    for layer, module in model.named_modules():
        module.register_forward_hook(
            lambda m, given, out, layer=layer: seen.__setitem__(layer, given[0].detach())
        )
    model(inputs)
    layers = list(dict.fromkeys(view.layer for view in measured.views))
    assert 1 < len(layers) <= MAX_FEATURE_LAYERS
    assert not any(isinstance(model.get_submodule(layer), nn.BatchNorm2d) for layer in layers)
    for view in measured.views:
        x = seen[view.layer]
        expected = x.flatten(2).mean(2) if view.averaged else x.flatten(1)
        np.testing.assert_allclose(view.rows, expected, rtol=1e-5, atol=1e-6)
    assert [view.layer for view in measured.views if view.averaged] == [
        layer for layer in layers if seen[layer].ndim > 2 and seen[layer][0, 0].numel() > 1
    ]


def test_long_views_are_shortened_and_keep_their_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 5000, generator=generator, dtype=torch.float64)
    short = torch.stack([FeatureHasher(512, seed)(rows) for seed in range(60)])
    assert short.shape == (60, 20, 509)
    found, truth = (short @ short.mT).mean(0), rows @ rows.mT
    # the error of one inner product is |x| |y| / sqrt(509); of the mean of sixty, an eighth of that
    assert (found - truth).abs().max() < 5 * 5000 / (509 * 60) ** 0.5
    assert FeatureHasher(5000, 0)(rows).equal(rows)


def test_views_that_are_as_long_as_their_batch_are_left_out() -> None:
    class Padded(nn.Module):
        """Takes sentences as long as the longest of the batch."""

        def __init__(self) -> None:
            super().__init__()
            self.word = nn.Linear(2, 4, bias=False)
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            longest = int((x[..., 0] != 0).sum(1).max())
            out: Tensor = self.head(self.word(x[:, :longest]).sum(1))
            return out

    inputs = torch.randn(SAMPLES, 6, 2).double()
    for i in range(SAMPLES):
        inputs[i, 2 + i % 4 :] = 0
    model = Padded().double().eval()
    views = run(model, inputs, batch_size=2).views
    assert [(view.layer, view.averaged) for view in views] == [("word", True), ("head", False)]
