"""The mathematics of the benchmark that compares scores of gradients with retrained networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.gradients.datamodeling_scores import (
    datamodeling_scores,
    kernel_weights,
    whitened_cosines,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_score_is_the_rank_correlation_over_the_usable_subsets(rng: np.random.Generator) -> None:
    scores = rng.standard_normal((3, 20))
    subsets = rng.random((12, 20)) < 0.5
    outcomes = rng.standard_normal((12, 3))
    usable = rng.random((12, 3)) < 0.7
    usable[:, 2] = False
    found = datamodeling_scores(scores, subsets, outcomes, usable)
    for t in range(2):
        some = usable[:, t]
        summed = [scores[t, subset].sum() for subset in subsets[some]]
        assert found[t] == pytest.approx(spearmanr(summed, outcomes[some, t]).statistic)
    assert np.isnan(found[2])


def test_a_linear_outcome_is_predicted_perfectly_and_an_unrelated_one_not(rng: np.random.Generator) -> None:
    scores = rng.standard_normal((40, 30))
    subsets = rng.random((60, 30)) < 0.5
    usable = np.ones((60, 40), dtype=bool)
    outcomes = subsets @ scores.T
    assert datamodeling_scores(scores, subsets, outcomes, usable) == pytest.approx(1)
    assert datamodeling_scores(-scores, subsets, outcomes, usable) == pytest.approx(-1)
    others = datamodeling_scores(scores[::-1], subsets, outcomes, usable)
    assert abs(others.mean()) < 4 / np.sqrt(40 * 60)


def test_kernel_weights_are_those_of_ridge_regression_without_the_target(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((9, 15))
    products = rows @ rows.T
    train = 7
    weights = kernel_weights(products, train, 0.3)
    ridge = 0.3 * np.trace(products[:train, :train]) / train
    for target in range(9):
        others = [j for j in range(train) if j != target]
        kernel = products[np.ix_(others, others)] + ridge * np.eye(len(others))
        expected = np.linalg.solve(kernel, products[others, target])
        assert weights[target, others] == pytest.approx(expected)
        if target < train:
            assert weights[target, target] == 0


def test_kernel_weights_of_features_are_those_of_trak(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((30, 5))
    train = 25
    weights = kernel_weights(rows @ rows.T, train, 0.1)
    ridge = 0.1 * np.square(rows[:train]).sum() / train
    expected = rows[train:] @ np.linalg.solve(
        rows[:train].T @ rows[:train] + ridge * np.eye(5), rows[:train].T
    )
    assert weights[train:] == pytest.approx(expected)


def test_whitened_cosines_are_those_of_whitened_vectors(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((30, 5))
    train = 25
    ridge = 0.7 * np.square(rows[:train]).sum() / train
    values, vectors = np.linalg.eigh(rows[:train].T @ rows[:train] + ridge * np.eye(5))
    white = rows @ (vectors / np.sqrt(values)) @ vectors.T
    unit = white / np.linalg.norm(white, axis=1, keepdims=True)
    found = whitened_cosines(rows @ rows.T, train, 0.7)
    for target in range(30):
        others = [j for j in range(train) if j != target]
        expected = unit[target] @ unit[others].T
        ratio = found[target, others] / expected
        assert ratio == pytest.approx(ratio[0])
        assert ratio[0] > 0
