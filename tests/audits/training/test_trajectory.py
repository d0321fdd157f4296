"""What was learned when, and where to stop: by hand-made histories."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cohaudit.audits.training.trajectory import TrainingHistory, learned_at, rating, strata, trajectory
from cohaudit.results.kinds import MEMORIZED


@given(arrays(bool, st.tuples(st.integers(2, 8), st.integers(1, 20))))
def test_learned_at_is_the_start_of_the_run_that_reaches_the_end(right: np.ndarray) -> None:
    when, forgotten = learned_at(right)
    for own, start, lost in zip(right.T, when, forgotten, strict=True):
        if start < 0:
            assert not own[-1]
        else:
            assert own[start:].all()
            assert start == 0 or not own[start - 1]
        assert lost == sum(a and not b for a, b in itertools.pairwise(own))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_strata_follow_the_memorization(memorization: list[float]) -> None:
    found = strata(np.array(memorization))
    assert ((np.array(memorization) >= MEMORIZED) == (found == 3)).all()
    order = np.argsort(memorization, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def history(predicted: list[list[int]], corrected: list[list[int]], expected: list[float]) -> TrainingHistory:
    k, n = np.shape(predicted)
    return TrainingHistory(
        names=[f"epoch-{i}" for i in range(k)],
        predicted=np.array(predicted),
        corrected_labels=np.array(corrected),
        memorization=np.tile(np.linspace(0, 1, n), (k, 1)),
        share=np.full((k, n), 1 / n),
        expected=expected,
        agreement=np.ones(k),
        loss=[1.0] * k,
        m_coherence=[2.0] * k,
    )


def test_the_advised_checkpoint_gives_most_of_the_labels_as_the_judge_corrects_them() -> None:
    labels = np.array([0, 0, 1, 1])
    wrong_last = [0, 0, 1, 0]  # what the judge says of the last sample
    found = history(
        [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]], [[0, 0, 1, 1], wrong_last, [0, 0, 1, 1]], [0.5, 0.8, 0.7]
    )
    told = trajectory(found, labels, [], [], [0.5] * 3)
    assert (told.judge, told.advised) == (1, 1)
    assert [point.accuracy for point in told.points] == [0.5, 0.75, 1.0]
    assert [point.corrected for point in told.points] == [0.75, 1.0, 0.75]
    assert told.advice.startswith("Take epoch-1: its rating is 100%")
    assert "1 likely wrong label corrected as judged at epoch-1" in told.advice
    assert told.learned_at == (0, 1, 0, 2)


def test_without_wrong_labels_the_last_is_as_good() -> None:
    labels = np.array([0, 0, 1, 1])
    found = history([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], [labels.tolist()] * 3, [0.5, 0.6, 0.7])
    told = trajectory(found, labels, [], [], [0.5] * 3)
    assert told.advice.startswith("Keep the last checkpoint")


def test_where_right_labels_are_memorized_the_rating_goes_by_agreement() -> None:
    corrected, agreement = np.array([0.5, 0.8, 1.0]), np.array([0.5, 0.6, 0.3])
    assert rating(corrected, agreement) == pytest.approx(0.3 * corrected + 0.7 * agreement)
    assert rating(corrected, np.array([0.5, 0.8, 1.0])) == pytest.approx(corrected)
