"""Which labels are wrong: on labels with known errors, and where it cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.noisy_labels import NoisyLabels, gaussian_classes

from cohaudit.analysis.label_verdict import (
    CALIBRATION,
    MAX_SUSPICION,
    Calibration,
    LabelVerdict,
    judge_labels,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)

SEPARATED = 6.0
"""Separation at which one sample in 10,000 or fewer lies on the side of another class."""


def judged(given: NoisyLabels) -> LabelVerdict:
    return judge_labels(given.scores, given.labels)


def suspects(found: LabelVerdict) -> NDArray[np.bool_]:
    """Return what a scan lists at the default threshold."""
    return (found.probability >= 0.5) & found.share.determined


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.1,) * 5, (0.0, 0.25, 0.05)])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_of_separable_classes_are_listed(seed: int, rates: tuple[float, ...]) -> None:
    given = gaussian_classes(seed, SEPARATED, rates)
    found = judged(given)
    wrong, suspect = given.wrong, suspects(found)
    assert found.share.determined
    assert suspect[wrong].mean() >= 0.9
    assert wrong[suspect].mean() >= 0.97
    assert found.share.lower <= wrong.mean() <= found.share.upper
    assert found.share.estimate == pytest.approx(wrong.mean(), abs=0.02)
    assert found.probability.sum() == pytest.approx(wrong.sum(), rel=0.15)
    assert (found.suggested[wrong] == given.true[wrong]).mean() >= 0.97


def test_where_samples_overlap_a_little_the_interval_holds() -> None:
    holds = []
    for seed in range(8):
        given = gaussian_classes(seed, 4, (0.2, 0.2, 0.2))
        share = judged(given).share
        assert share.determined
        holds.append(share.lower <= given.wrong.mean() <= share.upper)
    assert sum(holds) >= 7


@pytest.mark.parametrize("separation", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_correct_labels_of_hard_samples_are_not_listed(separation: float, classes: int) -> None:
    for seed in range(3):
        given = gaussian_classes(seed, separation, (0.0,) * classes)
        found = judged(given)
        assert found.disputed > 0.05
        assert not found.share.determined
        assert not suspects(found).any()
        assert found.share.lower == 0


def test_labels_drawn_at_random_are_not_listed() -> None:
    for seed in range(3):
        given = gaussian_classes(seed, SEPARATED, (0.0, 0.0, 0.0))
        labels = np.random.default_rng(seed).integers(3, size=len(given.labels))
        found = judge_labels(given.scores, labels)
        assert found.disputed == pytest.approx(2 / 3, abs=0.05)
        assert not suspects(found).any()
        assert found.share.upper > 0.6


def test_scores_that_know_nothing_list_nobody() -> None:
    labels = np.repeat([0, 1], [900, 100])
    flat = judge_labels(np.log(np.tile([0.9, 0.1], (1000, 1))), labels)
    assert not flat.share.determined
    assert flat.determined == 0
    # the rare class is disputed as a whole: it could be wrong, for all that the scores say
    assert flat.share.upper == pytest.approx(0.1 * CALIBRATION.disputed_factor)
    generator = np.random.default_rng(0)
    noise = judge_labels(np.log(generator.dirichlet(np.ones(4), size=500)), generator.integers(4, size=500))
    assert not suspects(noise).any()


def test_labels_that_nobody_disputes_are_right() -> None:
    given = gaussian_classes(0, 12, (0.0, 0.0, 0.0))
    found = judged(given)
    assert found.disputed == 0
    assert not suspects(found).any()
    assert found.share.upper < 0.001
    assert found.probability.max() < 0.05


def test_the_calibration_moves_log_odds_and_bounds() -> None:
    given = gaussian_classes(1, 4, (0.1, 0.1))
    plain = judge_labels(given.scores, given.labels, Calibration(0.0, 0.5, (0.5, 2.0), 1.0))
    moved = judge_labels(given.scores, given.labels, Calibration(1.0, 0.5, (0.5, 2.0), 1.0))
    assert plain.fitted == moved.fitted == pytest.approx(plain.probability.mean(), abs=1e-3)

    def log_odds(found: LabelVerdict) -> Array:
        odds: Array = np.log(found.probability / (1 - found.probability))
        return odds

    below = moved.probability < MAX_SUSPICION
    assert (log_odds(moved) - log_odds(plain))[below] == pytest.approx(1)
    assert plain.share.lower == pytest.approx((plain.fitted + 0.002) / 2 - 0.002)
    assert plain.share.upper == pytest.approx((plain.fitted + 0.002) * 2 - 0.002)
    never = judge_labels(given.scores, given.labels, Calibration(0.0, 1.01, (0.5, 2.0), 1.5))
    assert not never.share.determined
    assert (never.share.lower, never.share.upper) == (0, pytest.approx(1.5 * never.disputed))


@quick
@given(seeds, st.floats(0, 8), st.floats(0, 0.5))
def test_less_evidence_is_never_less_suspect(seed: int, separation: float, rate: float) -> None:
    given = gaussian_classes(seed, separation, (rate, 0.1, 0.0), samples=120)
    found = judged(given)
    by_evidence = found.probability[np.argsort(found.evidence)]
    assert (np.diff(by_evidence) <= 0).all()
    assert ((found.probability > 0) & (found.probability <= MAX_SUSPICION)).all()
    share = found.share
    assert 0 <= share.lower <= share.estimate <= share.upper <= 1
    assert 0 <= found.determined <= 1
    assert share.determined == (found.determined >= CALIBRATION.min_determined)


@quick
@given(seeds)
def test_other_orders_of_samples_and_classes_only_permute_the_verdict(seed: int) -> None:
    given = gaussian_classes(seed, 3, (0.2, 0.1, 0.0), samples=90)
    generator = np.random.default_rng(seed)
    order, renamed = generator.permutation(90), generator.permutation(3)
    found = judged(given)
    permuted = judge_labels(given.scores[order][:, np.argsort(renamed)], renamed[given.labels[order]])
    assert permuted.probability == pytest.approx(found.probability[order], rel=1e-6)
    assert (permuted.suggested == renamed[found.suggested[order]]).all()
    assert permuted.share.estimate == pytest.approx(found.share.estimate)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
@pytest.mark.parametrize("samples", [2, 3, 60])
def test_scores_of_any_size_give_probabilities(scale: float, samples: int) -> None:
    generator = np.random.default_rng(samples)
    scores = scale * generator.standard_normal((samples, 2))
    found = judge_labels(scores, np.arange(samples) % 2)
    for numbers in (found.probability, found.evidence, found.expected):
        assert np.isfinite(numbers).all()
    assert np.isfinite([found.fitted, found.disputed, found.determined, found.share.upper]).all()
