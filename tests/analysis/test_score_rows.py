"""Scores of all samples in blocks: the same as whole arrays, for blocks of any size and in files."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from cohaudit.analysis import leave_one_out as ridge
from cohaudit.analysis import score_rows
from cohaudit.analysis.expected_score import ExpectedScore, expect_score
from cohaudit.analysis.generalization_gap import predict_gap
from cohaudit.analysis.leave_one_out import Suspicion, leave_one_out, suspect_labels
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.analysis.score_rows import (
    SMALLEST_LOG,
    LastBlock,
    Softmax,
    WeightedSum,
    at,
    fitted_sample,
    likeliest,
    stored,
    without,
)
from cohaudit.arrays import blocks, temporary

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every prediction a large one: float32, in a file, in blocks of an odd number of samples."""
    monkeypatch.setattr(score_rows, "WHOLE_NUMBERS", 0)
    monkeypatch.setattr(score_rows, "MIN_FITTED", 10**6)
    monkeypatch.setattr(score_rows, "MAX_FITTED", 10**6)
    monkeypatch.setattr(ridge, "WHOLE_VIEW", 0)
    monkeypatch.setattr(temporary, "MEMORY", 0)
    monkeypatch.setattr(blocks, "NUMBERS_PER_BLOCK", 203)


@settings(max_examples=30)
@given(seeds, st.integers(1, 30), st.integers(2, 5), st.floats(0.01, 50))
def test_sums_and_probabilities_of_rows_are_those_of_whole_arrays(
    seed: int, samples: int, classes: int, sharpness: float
) -> None:
    generator = np.random.default_rng(seed)
    parts = [generator.standard_normal((samples, classes)) for _ in range(3)]
    probable = [Softmax(LastBlock(part), sharpness) for part in parts]
    weights = [0.5, 0.2, 0.3]
    exact = [softmax(sharpness * part, axis=1) for part in parts]
    logs = [np.maximum(log_softmax(sharpness * part, axis=1), SMALLEST_LOG) for part in parts]
    for rows in (slice(None), slice(1, samples, 2), generator.permutation(samples)):
        assert probable[0][rows] == pytest.approx(exact[0][rows])
        mean = np.tensordot(weights, logs, 1)[rows]
        assert WeightedSum(probable, weights, logarithms=True)[rows] == pytest.approx(mean)
        assert WeightedSum(parts, weights)[rows] == pytest.approx(np.tensordot(weights, parts, 1)[rows])
    labels = generator.integers(classes, size=samples)
    assert stored(probable[1], "") == pytest.approx(exact[1])
    assert at(probable[1], labels) == pytest.approx(exact[1][np.arange(samples), labels])
    assert (likeliest(parts[2]) == parts[2].argmax(1)).all()
    others = without(parts[0], labels, -np.inf)
    assert [row.max() for row in others] == [
        np.delete(row, label).max() for row, label in zip(parts[0], labels, strict=True)
    ]


@given(st.integers(1, 300), st.integers(1, 30), st.integers(1, 900))
def test_the_fitted_sample_is_spread_over_the_data(samples: int, classes: int, numbers: int) -> None:
    some = np.arange(samples)[fitted_sample((samples, classes), numbers)]
    if samples <= score_rows.MIN_FITTED:
        assert len(some) == samples
    small = 10_000 + samples
    chosen = np.arange(small)[fitted_sample((small, classes), numbers)]
    assert len(chosen) == score_rows.MIN_FITTED
    stretch = small / len(chosen)
    assert (np.abs(chosen - stretch * (np.arange(len(chosen)) + 0.5)) <= stretch / 2 + 1).all()


def labeled(seed: int, samples: int = 400, classes: int = 5) -> tuple[list[NDArray[np.float32]], Integers]:
    """Return two views of clusters, and their labels, of which some are wrong."""
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=samples)
    x = 1.5 * generator.standard_normal((classes, 9))[true] + generator.standard_normal((samples, 9))
    wrong = generator.random(samples) < 0.1
    labels = np.where(wrong, (true + 1) % classes, true)
    return [x.astype(np.float32), np.maximum(x[:, :4], 0).astype(np.float32)], labels


def judged(seed: int, *, crossfit: bool) -> tuple[Suspicion, Array, Array]:
    """Return the verdict on some labels, the gap of each class, and the probability of each kind."""
    views, labels = labeled(seed)
    generator = np.random.default_rng(seed + 1)
    own = softmax(3 * np.eye(5)[labels] + generator.standard_normal((400, 5)), axis=1).astype(np.float32)
    outside = softmax(generator.standard_normal((400, 5)) + 2 * np.eye(5)[labels], axis=1)
    copies = np.roll(own, 1, axis=1) if crossfit else None
    found = suspect_labels(views, labels, own, [own[::-1].copy()], [outside], crossfit=copies)
    score = expect_score(own.argmax(1), found.noise_without_crossfit, outside=True)
    assert isinstance(score, ExpectedScore)
    gaps = predict_gap(labels, own.argmax(1), score, found.expected_by_layers).classes
    suspect = found.probability > 0.5
    return found, gaps, kinds_of(found.expected, labels, found.probability, suspect, np.full(400, -1))[1]


@pytest.mark.parametrize("crossfit", [False, True])
def test_the_verdict_in_blocks_is_that_on_whole_arrays(
    crossfit: bool, request: pytest.FixtureRequest
) -> None:
    whole, gaps, certainty = judged(0, crossfit=crossfit)
    request.getfixturevalue("in_blocks")
    found, other_gaps, other_certainty = judged(0, crossfit=crossfit)
    assert isinstance(found.expected, np.memmap)
    for field in fields(Suspicion):
        one, other = getattr(whole, field.name), getattr(found, field.name)
        if field.name in {"noise", "noise_without_crossfit"}:
            assert other.rates == pytest.approx(one.rates, rel=1e-4)
            assert other.expected == pytest.approx(one.expected, abs=1e-5)
            assert other.true[:] == pytest.approx(one.true, abs=1e-5)
        elif field.name == "share":
            assert other.determined == one.determined
            assert other.estimate == pytest.approx(one.estimate, rel=1e-4)
        elif field.name == "expected_by_layers":
            assert other[:] == pytest.approx(one, abs=1e-5)
        else:
            assert other == pytest.approx(one, rel=1e-4, abs=1e-4), field.name
    assert other_gaps == pytest.approx(gaps, abs=1e-5)
    assert other_certainty == pytest.approx(certainty, abs=1e-4)


@settings(max_examples=20)
@given(seeds, st.integers(1, 60), st.integers(2, 7))
def test_leave_one_out_scores_of_some_rows_are_those_of_all(seed: int, width: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    view = generator.standard_normal((70, width)).astype(np.float32)
    found = leave_one_out(view, generator.integers(classes, size=70), classes)
    order = generator.permutation(70)
    assert found[order] == pytest.approx(found.scores[order])
    assert found[3:9] == pytest.approx(found.scores[3:9])


def test_leave_one_out_in_float32_differs_by_rounding(request: pytest.FixtureRequest) -> None:
    views, labels = labeled(3)
    whole = leave_one_out(views[0], labels, 5)
    exact = whole.scores
    request.getfixturevalue("in_blocks")
    found = leave_one_out(views[0], labels, 5)
    assert found.scores.dtype == np.float32
    assert found.ridge == whole.ridge
    assert found.scores == pytest.approx(exact, abs=2e-6)
