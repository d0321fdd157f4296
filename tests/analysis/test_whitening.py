"""The metric of supporters and opponents: against float64 and against ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cohaudit.analysis.whitening import whitening_metric


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 12), st.floats(0.1, 30))
def test_the_metric_is_the_inverse_of_the_second_moment_and_the_ridge(
    seed: int, samples: int, size: int, ridge: float
) -> None:
    sketches = np.random.default_rng(seed).standard_normal((samples, size)).astype(np.float32)
    unit = sketches / np.linalg.norm(sketches, axis=1, keepdims=True).astype(np.float64)
    expected = ridge * np.linalg.inv(unit.T @ unit + ridge * np.eye(size))
    assert whitening_metric(sketches, ridge).numpy() == pytest.approx(expected, abs=1e-5)


def test_products_order_the_others_as_a_ridge_prediction_without_the_sample_weighs_them() -> None:
    sketches = np.random.default_rng(1).standard_normal((12, 20)).astype(np.float32)
    unit = torch.from_numpy(sketches / np.linalg.norm(sketches, axis=1, keepdims=True))
    products = (unit @ whitening_metric(sketches, 3.0) @ unit.T).numpy()
    kernel = (unit @ unit.T).double().numpy()
    for i in range(12):
        others = [j for j in range(12) if j != i]
        weights = np.linalg.solve(kernel[np.ix_(others, others)] + 3 * np.eye(11), kernel[others, i])
        ratio = products[i, others] / weights
        assert ratio == pytest.approx(ratio[0], rel=1e-3)


def test_gradients_of_zero_and_of_any_scale_are_no_trouble() -> None:
    sketches = np.random.default_rng(2).standard_normal((8, 5)).astype(np.float32)
    scaled = sketches * np.float32(1e-30) * np.arange(1, 9, dtype=np.float32)[:, None]
    assert whitening_metric(scaled, 3.0).numpy() == pytest.approx(
        whitening_metric(sketches, 3.0).numpy(), abs=1e-5
    )
    zeros = np.concatenate([sketches, np.zeros((3, 5), dtype=np.float32)])
    assert whitening_metric(zeros, 3.0).numpy() == pytest.approx(
        whitening_metric(sketches, 3.0).numpy(), abs=1e-5
    )
