"""The ways in which gradients of convolutions are computed, each against plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import CONVOLUTIONS, make
from support.oracle import (
    case_gradients,
    layer_squares,
    run,
)

from cohaudit.gradients.forms import convolved


@pytest.mark.parametrize("most", [0, 512])
@pytest.mark.parametrize("name", [*CONVOLUTIONS, "VGG", "ResNet", "U-Net"])
def test_gradients_of_large_convolutions(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library's kernel for each sample, and with a product for each row of the kernel."""
    monkeypatch.setattr(convolved, "LIBRARY_KERNEL_PRODUCTS", 0)
    monkeypatch.setattr(convolved, "ROW_PRODUCT_POSITIONS", most)
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 1e9)
    model, inputs = make(name, torch.float32)
    measured = run(model, inputs)
    expected = layer_squares(measured, case_gradients(name), lambda g: g)
    np.testing.assert_allclose(measured.squared_norms, expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gram_matrices_of_convolutions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 0)
    model, inputs = make(name)
    measured = run(model, inputs)
    expected = layer_squares(measured, case_gradients(name), lambda g: g)
    np.testing.assert_allclose(measured.squared_norms, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_convolutions_of_sixteen_bits_are_sketched_without_whole_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 0)
    model, inputs = make("ResNet", torch.float32)
    whole = run(model, inputs, sketch_size=300)
    found = run(model.bfloat16(), inputs.bfloat16(), sketch_size=300)
    error = np.linalg.norm(found.sketches - whole.sketches, axis=1) / np.linalg.norm(whole.sketches, axis=1)
    assert np.median(error) < 0.1
