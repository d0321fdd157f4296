"""What was learned when, and where to stop: by hand-made histories."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cohaudit.audits.training.rating import CrossedAccuracy, LabelBelief
from cohaudit.audits.training.trajectory import TrainingHistory, learned_at, strata, trajectory
from cohaudit.results import Skipped
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


NOT_CROSSED = Skipped("crossed samples", "none in this test")


def history(
    predicted: list[list[int]],
    belief: LabelBelief | None,
    crossed: CrossedAccuracy | Skipped = NOT_CROSSED,
) -> TrainingHistory:
    k, n = np.shape(predicted)
    return TrainingHistory(
        names=[f"epoch-{i}" for i in range(k)],
        predicted=np.array(predicted),
        corrected_labels=np.tile(np.arange(n) % 2, (k, 1)),
        memorization=np.tile(np.linspace(0, 1, n), (k, 1)),
        share=np.full((k, n), 1 / n),
        expected=[0.5 + 0.1 * i for i in range(k)],
        belief=belief,
        crossed=crossed,
        loss=[1.0] * k,
        m_coherence=[2.0] * k,
    )


def belief_in(labels: np.ndarray) -> LabelBelief:
    probability = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    return LabelBelief(probability, probability, 0.8)


def test_a_checkpoint_is_advised_that_is_clearly_better_than_the_last() -> None:
    labels = np.arange(200) % 2
    given = np.where(np.arange(200) < 60, 1 - labels, labels)
    half = np.where(np.arange(200) < 100, labels, 0)
    found = history([half.tolist(), labels.tolist(), given.tolist()], belief_in(labels))
    told = trajectory(found, given, [], [], [0.5] * 3)
    assert told.advised == 1
    assert [point.accuracy for point in told.points] == [0.45, 0.7, 1.0]
    assert [point.rating for point in told.points] == pytest.approx([0.7, 0.9, 0.66])
    assert told.advice.startswith("Take epoch-1: its rating is 90.0%, that of the last one 66.0%")
    assert "60 labels are likely wrong, as judged at epoch-2" in told.advice
    assert "(crossed samples: none in this test)" in told.advice


def test_what_crossed_samples_show_counts_as_much_as_the_answers_to_the_samples() -> None:
    labels = np.arange(200) % 2
    samples = np.arange(0, 200, 2)
    # the last checkpoint fits the same labels, but no longer classifies new samples
    crossed = CrossedAccuracy(samples, np.repeat([[0.8], [0.4]], len(samples), axis=1))
    found = history([labels.tolist()] * 2, belief_in(labels), crossed)
    assert found.rating == pytest.approx([0.85, 0.65])
    assert found.advised == 0
    assert "also to crossed samples" in trajectory(found, labels, [], [], [0.5] * 2).advice


def test_equal_checkpoints_keep_the_last() -> None:
    labels = np.arange(50) % 2
    found = history([labels.tolist()] * 3, belief_in(labels))
    told = trajectory(found, labels, [], [], [0.5] * 3)
    assert told.advised == 2
    assert told.advice.startswith("Keep the last checkpoint: no earlier one is clearly better")


def test_without_models_of_the_raw_data_the_last_is_kept_with_the_reason() -> None:
    labels = np.arange(50) % 2
    found = history([labels.tolist(), (1 - labels).tolist()], None)
    told = trajectory(found, labels, [], [], [0.5] * 2)
    assert told.advised == 1
    assert told.advice.startswith(
        "Keep the last checkpoint: nothing predicts these labels without the network"
    )
