"""Noise rates by class: against direct maximization, Bayes' rule, and rates that labels were drawn with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from support.noisy_labels import gaussian_classes

from cohaudit.analysis.class_conditional_noise import PRIOR_SAMPLES, ClassNoise, fit_class_noise
from cohaudit.analysis.label_noise import LabelNoise, expected_labels, fit_label_noise

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


def fitted(scores: Array, labels: Integers) -> ClassNoise:
    return fitted_by(fit_label_noise(scores, labels), scores, labels)


def fitted_by(symmetric: LabelNoise, scores: Array, labels: Integers) -> ClassNoise:
    return fit_class_noise(expected_labels(scores, symmetric.sharpness), labels, symmetric)


def joint(q: Array, rates: Array, label: int) -> Array:
    """Return the probability of each true label together with a given one, by the definition, [C]."""
    classes = len(q)
    return np.array(
        [q[t] * (1 - rates[t] if t == label else rates[t] / (classes - 1)) for t in range(classes)]
    )


@pytest.mark.parametrize("seed", range(3))
def test_no_rates_are_likelier_than_the_fitted_ones(seed: int) -> None:
    scores, labels, _ = gaussian_classes(seed, 3, (0.3, 0.05, 0.1), samples=150)
    symmetric = fit_label_noise(scores, labels)
    found = fitted_by(symmetric, scores, labels)
    expected = softmax(symmetric.sharpness * scores, axis=1)
    wrong, right = PRIOR_SAMPLES * symmetric.share, PRIOR_SAMPLES * (1 - symmetric.share)

    def loss(rates: Array) -> float:
        likelihood = sum(
            np.log(joint(q, rates, label).sum()) for q, label in zip(expected, labels, strict=True)
        )
        # the prior: so many labels of each class were seen before, wrong at the common rate
        prior = (wrong * np.log(rates) + right * np.log(1 - rates)).sum()
        return -float(likelihood + prior)

    best = minimize(loss, np.full(3, 0.1), bounds=[(1e-6, 2 / 3)] * 3, method="L-BFGS-B")
    assert found.expected == pytest.approx(expected)
    assert found.rates == pytest.approx(best.x, abs=2e-3)
    assert loss(found.rates) == pytest.approx(best.fun, abs=1e-3)


@pytest.mark.parametrize("rates", [(0.4, 0.02), (0.3, 0.0, 0.1, 0.05), (0.0, 0.0, 0.0)])
def test_the_rates_that_labels_were_drawn_with_are_recovered(rates: tuple[float, ...]) -> None:
    for seed in range(3):
        scores, labels, true = gaussian_classes(seed, 5, rates, samples=3000)
        found = fitted(scores, labels)
        drawn = [(labels != true)[true == t].mean() for t in range(len(rates))]
        assert found.rates == pytest.approx(drawn, abs=0.02)
        assert (found.true.argmax(1) == true).mean() > 0.99


def test_classes_that_are_alike_get_the_rate_of_all() -> None:
    scores, labels, _ = gaussian_classes(0, 3, (0.2, 0.2, 0.2), samples=600)
    # every sample once for each renaming of the classes in a circle: nothing distinguishes them
    scores = np.concatenate([np.roll(scores, k, axis=1) for k in range(3)])
    labels = np.concatenate([(labels + k) % 3 for k in range(3)])
    symmetric = fit_label_noise(scores, labels)
    found = fitted_by(symmetric, scores, labels)
    assert found.rates == pytest.approx(np.full(3, symmetric.share), abs=1e-4)


def test_the_true_labels_have_the_probabilities_of_bayes_rule() -> None:
    scores, labels, _ = gaussian_classes(1, 2, (0.3, 0.1, 0.1), samples=80)
    found = fitted(scores, labels)
    odds = found.log_odds_wrong(labels)
    for i, label in enumerate(labels):
        both = joint(found.expected[i], found.rates, label)
        assert found.true[i] == pytest.approx(both / both.sum())
        wrong = sum(both[t] for t in range(3) if t != label)
        assert odds[i] == pytest.approx(np.log(wrong / both[label]))


def test_log_odds_of_nearly_certain_labels_keep_their_order() -> None:
    # 1 − p would be 0 in floating point for all of them
    labels = np.zeros(3, dtype=np.int64)
    wrong = np.array([1e-20, 1e-30, 1e-40])
    noise = ClassNoise(np.full(2, 0.1), np.full((3, 2), 0.5), np.stack([np.ones(3), wrong], axis=1))
    assert noise.log_odds_wrong(labels) == pytest.approx(np.log(wrong))


def test_a_class_of_a_few_samples_takes_the_rate_of_all() -> None:
    many = gaussian_classes(2, 6, (0.2, 0.2, 0.2), samples=1500)
    few = many.true != 2
    few[np.flatnonzero(~few)[:2]] = True  # two samples of class 2, whose labels are made wrong
    labels = np.where(many.true == 2, 0, many.labels)
    found = fitted(many.scores[few], labels[few])
    share = (labels != many.true)[few].mean()
    assert found.rates[2] == pytest.approx((2 + PRIOR_SAMPLES * share) / (2 + PRIOR_SAMPLES), abs=0.05)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from([1e-300, 1.0, 1e3, 1e300]))
def test_any_scores_give_rates_and_probabilities(seed: int, classes: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    scores = scale * generator.standard_normal((30, classes))
    labels = generator.integers(classes, size=30)
    found = fitted_by(LabelNoise(1.0, 0.1, 0.0), scores, labels)
    assert ((found.rates > 0) & (found.rates <= 1 - 1 / classes)).all()
    assert np.isfinite(found.true).all()
    assert np.isfinite(found.log_odds_wrong(labels)).all()
    order = generator.permutation(30)
    renamed = generator.permutation(classes)
    other = np.empty_like(scores)
    other[:, renamed] = scores[order]
    permuted = fitted_by(LabelNoise(1.0, 0.1, 0.0), other, renamed[labels[order]])
    assert permuted.rates[renamed] == pytest.approx(found.rates)
