"""Classes taken for one another: found where labels were drawn so, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohaudit.analysis import class_conditional_noise as class_noise
from cohaudit.analysis.class_conditional_noise import ClassNoise, fit_class_noise, most_confused
from cohaudit.analysis.label_noise import MAX_SUSPICION, expected_labels, fit_label_noise

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
SHARPNESS = 12


def drawn(seed: int, transition: Array, samples: int = 4000) -> tuple[Array, Integers, Integers]:
    """Return scores, given labels and true ones, drawn from the model itself."""
    generator = np.random.default_rng(seed)
    classes = len(transition)
    scores = generator.dirichlet(np.full(classes, 0.4), size=samples)
    true = _draw(generator, expected_labels(scores, SHARPNESS))
    return scores, _draw(generator, transition[true]), true


def _draw(generator: np.random.Generator, chances: Array) -> Integers:
    above = generator.random((len(chances), 1)) > np.cumsum(chances, 1)
    return np.asarray(above.sum(1).clip(max=chances.shape[1] - 1))


def confusing(share: float, classes: int = 5) -> Array:
    """Return a transition in which class 0 is called 1, and 2 is called 3."""
    transition = np.eye(classes)
    transition[0, :2] = 1 - share, share
    transition[2, 2:4] = 1 - share, share
    return transition


def symmetric(share: float, classes: int = 5) -> Array:
    return np.full((classes, classes), share / (classes - 1)) + (1 - share - share / (classes - 1)) * np.eye(
        classes
    )


def fitted(scores: Array, labels: Integers) -> ClassNoise | None:
    return fit_class_noise(scores, labels, fit_label_noise(scores, labels))


@pytest.mark.parametrize("seed", range(3))
def test_confused_classes_are_found(seed: int) -> None:
    scores, labels, true = drawn(seed, confusing(0.35))
    found = fitted(scores, labels)
    assert found is not None
    assert np.abs(found.transition - confusing(0.35)).max() < 0.08
    assert found.transition.sum(1) == pytest.approx(1)
    assert {(t, g) for t, g, _ in most_confused(found, 2)} == {(0, 1), (2, 3)}
    wrong, probability = labels != true, found.wrong(labels)
    assert roc_auc_score(wrong, probability) > 0.95
    suspect = probability >= 0.5
    assert wrong[suspect].mean() == pytest.approx(probability[suspect].mean(), abs=0.06)
    assert suspect[wrong].mean() > 0.7
    assert (found.true.argmax(1) == true)[suspect & wrong].mean() > 0.95
    assert probability.max() <= MAX_SUSPICION


def test_the_likelihood_is_that_of_the_definition() -> None:
    scores, labels, _ = drawn(7, confusing(0.3), samples=60)
    expected = expected_labels(scores, 9.0)
    likelihood, transition, true = class_noise._fit_transition(expected, labels)
    total = 0.0
    for q, label, posterior in zip(expected, labels, true, strict=True):
        chances = [q[t] * transition[t, label] for t in range(5)]
        total += np.log(sum(chances))
        assert posterior == pytest.approx(np.array(chances) / sum(chances))
    assert likelihood == pytest.approx(total)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("samples", [300, 4000])
def test_random_errors_are_not_confusion(share: float, samples: int) -> None:
    for seed in range(4):
        scores, labels, _ = drawn(seed, symmetric(share), samples)
        assert fitted(scores, labels) is None


def test_few_samples_must_show_it_more_clearly() -> None:
    scores, labels, _ = drawn(0, confusing(0.35, classes=10), samples=4000)
    whole = fitted(scores, labels)
    assert whole is not None
    assert whole.gain > class_noise.MIN_GAIN
    few = class_noise.MIN_MEAN_CLASS_SIZE * 10 - 1
    assert fitted(scores[:few], labels[:few]) is None


def test_of_very_many_classes_it_is_not_fitted() -> None:
    classes = class_noise.MAX_TRANSITION_CLASSES + 1
    scores, labels, _ = drawn(0, confusing(0.5, classes), samples=2000)
    assert fitted(scores, labels) is None
