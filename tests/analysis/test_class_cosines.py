"""Cosines of the classes' mean gradients against their definition, and their error against simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.class_cosines import MAX_CLASSES, class_cosines, sampling_error, too_many_classes
from cohaudit.analysis.coherence import Gradients
from cohaudit.results import ClassCosines, Skipped

Array = NDArray[np.float64]

DIMENSIONS = 100


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_class_cosines_are_those_of_the_class_sums(seed: int, classes: int) -> None:
    class_sums = np.random.default_rng(seed).normal(size=(classes, 7))
    found = class_cosines(class_sums @ class_sums.T, 0.25, np.zeros((classes, classes)))
    assert isinstance(found, ClassCosines)
    units = class_sums / np.linalg.norm(class_sums, axis=1, keepdims=True)
    assert np.array(found.matrix) == pytest.approx(units @ units.T, rel=1e-9, abs=1e-9)
    assert [row[c] for c, row in enumerate(found.matrix)] == [1.0] * classes
    assert found.error == 0.25


def test_a_class_without_gradient_has_cosine_zero_with_the_others() -> None:
    class_sums = np.array([[1.0, 0], [0, 0], [-3, 0]])
    found = class_cosines(class_sums @ class_sums.T, 0.0, np.zeros((3, 3)))
    assert isinstance(found, ClassCosines)
    assert found.matrix == ((1, 0, -1), (0, 1, 0), (-1, 0, 1))


def test_without_any_gradient_class_cosines_are_skipped() -> None:
    found = class_cosines(np.zeros((3, 3)), 0.0, np.zeros((3, 3)))
    assert isinstance(found, Skipped)
    assert "zero" in found.reason


def drawn(cosine: float, samples: int, seed: int, shared: float = 0.2) -> tuple[float, float]:
    """Return the cosine of two classes' means, which have this one in truth, and its stated error."""
    rng = np.random.default_rng(seed)
    means = np.zeros((2, DIMENSIONS))
    means[0, 0] = 1
    means[1, :2] = cosine, np.sqrt(1 - cosine**2)
    noise = rng.normal(size=(2, samples, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    gradients = np.sqrt(shared) * means[:, None] + noise
    gram, errors = measured(gradients)
    return float(gram[0, 1] / np.sqrt(gram[0, 0] * gram[1, 1])), float(errors[0, 1])


def measured(gradients: Array) -> tuple[Array, Array]:
    """Return the classes' inner products and their cosines' errors, from [classes, samples, numbers]."""
    sums = gradients.sum(1)
    gram = sums @ sums.T
    members = np.arange(gradients.shape[1])
    own = [Gradients(one.astype(np.float32), np.ones(len(members)), members) for one in gradients]
    shares = 1 - np.square(gradients).sum((1, 2)) / np.diag(gram)
    return gram, sampling_error(gram, own, shares)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 1.0])
@pytest.mark.parametrize("samples", [20, 100])
def test_the_sampling_error_is_that_of_new_draws(cosine: float, samples: int) -> None:
    found = np.array([drawn(cosine, samples, seed) for seed in range(150)])
    off = np.abs(found[:, 0] - cosine)
    assert np.mean(off <= 2 * found[:, 1]) >= 0.9
    assert np.sqrt(np.square(found[:, 1]).mean()) == pytest.approx(np.sqrt(np.square(off).mean()), rel=0.5)


def test_five_samples_of_one_mean_do_not_look_like_two_means() -> None:
    found = np.array([drawn(1.0, 5, seed, shared=0.05) for seed in range(150)])
    # noise lengthens both means: the cosine is far below 1, and its error says so
    assert found[:, 0].mean() < 0.35
    assert np.mean(1 - found[:, 0] <= 2 * found[:, 1]) >= 0.9


def test_nothing_is_known_of_a_single_sample() -> None:
    rng = np.random.default_rng(0)
    gram, errors = measured(rng.normal(size=(2, 1, DIMENSIONS)))
    cosine = gram[0, 1] / np.sqrt(gram[0, 0] * gram[1, 1])
    assert errors[0, 1] == pytest.approx(1 - abs(cosine))
    assert errors[0, 0] == 0


def test_equal_gradients_have_no_error() -> None:
    _, errors = measured(np.tile(np.eye(2, DIMENSIONS)[:, None], (1, 4, 1)))
    assert errors == pytest.approx(np.zeros((2, 2)), abs=1e-6)


def test_without_gradients_there_is_no_error() -> None:
    own = [Gradients(np.zeros((3, 4), np.float32), np.zeros(3), np.arange(3))] * 2
    assert sampling_error(np.zeros((2, 2)), own, np.zeros(2)).tolist() == [[0, 0], [0, 0]]


def test_there_is_a_table_of_all_pairs_of_few_classes_alone() -> None:
    assert too_many_classes(MAX_CLASSES) is None
    skipped = too_many_classes(1000)
    assert skipped is not None
    assert skipped.reason == "1,000 classes have 1,000,000 of them"
