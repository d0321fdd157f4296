"""One noise rate and the sharpness of scores: against the model's definition and simulations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from cohaudit.analysis import label_noise
from cohaudit.analysis.label_noise import expected_labels, fit_label_noise, is_informative

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Drawn(NamedTuple):
    """Labels drawn from the noise model itself."""

    scores: Array
    labels: Integers
    wrong: NDArray[np.bool_]


def drawn(seed: int, sharpness: float, share: float, classes: int = 4, samples: int = 4000) -> Drawn:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(classes, 0.5), size=samples)
    chances = np.exp(sharpness * scores)
    chances /= chances.sum(1, keepdims=True)
    true = (generator.random((samples, 1)) > np.cumsum(chances, 1)).sum(1).clip(max=classes - 1)
    wrong = generator.random(samples) < share
    moved = (true + generator.integers(1, classes, size=samples)) % classes
    return Drawn(scores, np.where(wrong, moved, true), wrong)


def log_likelihood(scores: Array, labels: Integers, sharpness: float, share: float) -> float:
    """Return log p(labels) straight from the model's definition, summed over every possible true label."""
    total, classes = 0.0, scores.shape[1]
    for row, label in zip(scores, labels, strict=True):
        chances = np.exp(sharpness * row) / np.exp(sharpness * row).sum()
        given = [chances[t] * (1 - share if t == label else share / (classes - 1)) for t in range(classes)]
        total += np.log(sum(given))
    return total


@pytest.mark.parametrize(("sharpness", "share", "classes"), [(12, 0.1, 4), (12, 0.3, 4), (25, 0.05, 2)])
def test_the_fit_recovers_the_noise_that_the_labels_were_drawn_with(
    sharpness: float, share: float, classes: int
) -> None:
    fits = []
    for seed in range(6):
        sample = drawn(seed, sharpness, share, classes)
        fits.append(fit_label_noise(sample.scores, sample.labels))
    sharpnesses = np.array([fit.sharpness for fit in fits])
    shares = np.array([fit.share for fit in fits])
    assert np.abs(shares - share).max() < 0.025
    assert shares.mean() == pytest.approx(share, abs=0.008)
    assert np.abs(np.log(sharpnesses / sharpness)).max() < 0.4
    assert np.log(sharpnesses / sharpness).mean() == pytest.approx(0, abs=0.1)


def test_no_other_noise_is_likelier_than_the_fit() -> None:
    scores, labels, _ = drawn(3, 10, 0.2, samples=400)
    fit = fit_label_noise(scores, labels)
    assert fit.log_likelihood == pytest.approx(log_likelihood(scores, labels, fit.sharpness, fit.share))
    for sharpness in np.geomspace(1, 100, 15):
        for share in np.linspace(0.001, 0.75, 15):
            # the fit's own steps in β are 7 %: at most half a step off the top, which costs next to nothing
            assert log_likelihood(scores, labels, sharpness, share) < fit.log_likelihood + 0.2


def test_clean_labels_have_no_noise() -> None:
    shares = [fit_label_noise(*drawn(seed, 15, 0)[:2]).share for seed in range(5)]
    assert max(shares) < 0.01


def test_of_equally_likely_fits_the_one_with_the_fewest_wrong_labels_is_chosen() -> None:
    # scores that say nothing but the class shares: the rare class is a tenth of the labels, or all mistakes
    labels = np.repeat([0, 1], [900, 100])
    scores = np.tile([0.9, 0.1], (1000, 1))
    assert fit_label_noise(scores, labels).share < 0.01


@pytest.mark.parametrize("classes", [2, 5])
def test_labels_that_contradict_every_score_are_at_most_as_wrong_as_drawn_lots(classes: int) -> None:
    scores, labels = np.tile(np.eye(classes), (40, 1)), np.tile(np.roll(np.arange(classes), 1), 40)
    assert fit_label_noise(scores, labels).share == 1 - 1 / classes


def test_the_sharpness_has_a_largest_value() -> None:
    scores, labels = np.tile(np.eye(3) / 1000, (40, 1)), np.tile(np.arange(3), 40)
    assert fit_label_noise(scores, labels).sharpness == pytest.approx(label_noise.MAX_SHARPNESS)


def test_a_smallest_sharpness_is_kept() -> None:
    scores, labels, _ = drawn(4, 3.0, 0)
    free = fit_label_noise(scores, labels)
    bound = fit_label_noise(scores, labels, 8.0)
    assert free.sharpness < 5
    assert bound.sharpness == pytest.approx(8)
    assert bound.share > free.share, "scores taken for surer than they are make wrong labels"
    assert bound.log_likelihood < free.log_likelihood


def test_expected_labels_are_the_softmax_of_the_scores() -> None:
    scores = drawn(0, 12, 0, samples=50).scores
    chances = np.exp(7 * scores) / np.exp(7 * scores).sum(1, keepdims=True)
    assert expected_labels(scores, 7.0) == pytest.approx(chances)


def informative(scores: Array, labels: Integers) -> bool:
    return is_informative(scores, labels, fit_label_noise(scores, labels))


def test_scores_are_informative_where_they_predict_labels_better_than_the_class_shares() -> None:
    for seed in range(4):
        sample = drawn(seed, 12, 0.2, samples=300)
        assert informative(sample.scores, sample.labels)
    # 3 standard errors: by chance, one in 700
    unrelated = [
        informative(drawn(seed, 12, 0, samples=300).scores, drawn(seed + 100, 12, 0, samples=300).labels)
        for seed in range(8)
    ]
    assert not any(unrelated)
    shares = np.log(np.tile([0.9, 0.1], (1000, 1)))
    assert not informative(shares, np.repeat([0, 1], [900, 100]))


@pytest.mark.parametrize("scale", [1e3, 1e300])
def test_scores_of_any_size_give_a_fit(scale: float) -> None:
    scores, labels = np.array([[0, 1, -1], [1, 0, 0], [0.5, 0.5, 0]]) * scale, np.array([0, 0, 1])
    fit = fit_label_noise(scores, labels)
    assert np.isfinite([fit.sharpness, fit.share, fit.log_likelihood]).all()
    assert fit.sharpness <= label_noise.MAX_SHARPNESS
    assert np.isfinite(expected_labels(scores, fit.sharpness)).all()
