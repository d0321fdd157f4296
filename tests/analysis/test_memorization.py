"""Memorization: against refits of a machine in closed form, and what must hold of it whatever it is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.memorization import memorization
from cohaudit.results.kinds import MEMORIZED
from cohaudit.results.thresholds import MEMORIZATION_NOT_GIVEN

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

CLASSES = 4
MACHINES = 100
"""Machines refitted; with seven tenths of the samples each."""


class Refits(NamedTuple):
    """How often machines give the labels of samples that they saw, and of others; what one of all says."""

    with_it: Array
    without: Array
    own: Array
    predictions: list[Array]
    labels: Integers


def refits(noise: float, ridge: float, seed: int = 0, count: int = 200) -> Refits:
    """Refit kernel ridge regression of clouds' labels, a share of them wrong; a small ridge interpolates.

    Its layers are the samples, and the samples beside its own answers, which have bent to the labels.
    """
    generator = np.random.default_rng(seed)
    true = generator.integers(CLASSES, size=count)
    x = 2 * generator.standard_normal((CLASSES, 6))[true] + generator.standard_normal((count, 6))
    wrong = generator.random(count) < noise
    labels = np.where(wrong, (true + generator.integers(1, CLASSES, size=count)) % CLASSES, true)
    squares = np.square(x[:, None] - x).sum(2)
    kernel = np.exp(-squares / 8)

    def fitted(members: Integers) -> Array:
        gram = kernel[np.ix_(members, members)] + ridge * np.eye(len(members))
        answers: Array = kernel[:, members] @ np.linalg.solve(gram, np.eye(CLASSES)[labels[members]])
        return answers

    saw = np.zeros((MACHINES, count), dtype=bool)
    gives = np.zeros_like(saw)
    for k in range(MACHINES):
        members = generator.permutation(count)[: int(0.7 * count)]
        saw[k, members] = True
        gives[k] = fitted(members).argmax(1) == labels
    answers = fitted(np.arange(count))
    odds = np.exp(10 * answers)
    bent = np.concatenate([x, 4 * answers], 1)
    return Refits(
        (saw & gives).sum(0) / saw.sum(0),
        (~saw & gives).sum(0) / (~saw).sum(0),
        odds / odds.sum(1, keepdims=True),
        [leave_one_out(view.astype(np.float32), labels, CLASSES).scores for view in (x, bent)],
        labels,
    )


@pytest.mark.parametrize("ridge", [0.1, 0.5, 1.0, 3.0])
def test_it_is_what_seeing_the_sample_adds(ridge: float) -> None:
    """From interpolating machines to ones that give hardly any wrong label: Feldman & Zhang's p − q."""
    machines = refits(0.2, ridge)
    truth = machines.with_it - machines.without
    found = memorization([machines.predictions[0], machines.own], machines.labels)
    assert np.corrcoef(found, truth)[0, 1] > 0.7
    # machines that fit the noise know less of the other samples than the best ridge does
    assert found.mean() == pytest.approx(truth.mean(), abs=0.15)


def test_random_labels_that_are_all_fitted_are_memorized() -> None:
    machines = refits(1 - 1 / CLASSES, 0.01)
    truth = machines.with_it - machines.without
    assert truth.mean() > 0.7
    found = memorization([*machines.predictions, machines.own], machines.labels)
    assert found.mean() == pytest.approx(truth.mean(), abs=0.1)


def test_labels_that_are_not_given_do_not_count_as_memorized() -> None:
    machines = refits(0.2, 3.0)
    found = memorization([*machines.predictions, machines.own], machines.labels)
    given = machines.own.argmax(1) == machines.labels
    assert (~given).sum() > 10
    assert found[~given].max() < MEMORIZED


def test_clean_labels_that_all_others_support_are_not_memorized() -> None:
    machines = refits(0.0, 1.0)
    found = memorization([*machines.predictions, machines.own], machines.labels)
    assert np.median(found) < 0.05


def test_a_layer_that_gives_every_label_is_not_believed() -> None:
    """Whether it is there or not changes next to nothing."""
    machines = refits(0.2, 0.1)
    bent = 0.99 * np.eye(CLASSES)[machines.labels] + 0.0025
    first = machines.predictions[0]
    with_it = memorization([first, bent, machines.own], machines.labels)
    assert with_it == pytest.approx(memorization([first, machines.own], machines.labels), abs=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 40), st.integers(1, 3))
def test_whatever_is_predicted_it_is_a_share(seed: int, classes: int, count: int, views: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    # coarse numbers tie often
    scores = [np.round(generator.standard_normal((count, classes)), 1) for _ in range(views)]
    own = generator.dirichlet(np.full(classes, 0.3), size=count)
    found = memorization([*scores, own], labels)
    assert found.shape == (count,)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[own.argmax(1) != labels] <= MEMORIZATION_NOT_GIVEN).all()
    order = generator.permutation(count)
    again = memorization([*(one[order] for one in scores), own[order]], labels[order])
    assert again == pytest.approx(found[order], abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 39))
def test_among_labels_that_are_all_given_more_support_means_less_memorized(seed: int, which: int) -> None:
    """With p = 1 it is 1 − q: one label's order among the others is its order by their scores."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=40)
    scores = generator.random((40, 3))
    found = memorization([scores, np.eye(3)[labels]], labels)
    lead = scores[np.arange(40), labels][:, None] - scores
    rivals = np.sort(lead, 1)  # the label's lead over itself is 0 for all
    less = (rivals <= rivals[which]).all(1)
    assert (found[less] >= found[which] - 1e-12).all()


def test_two_samples_of_two_classes_get_a_number() -> None:
    found = memorization([np.full((2, 2), 0.5), np.eye(2)], np.array([0, 1]))
    assert found == pytest.approx([0.5, 0.5])
    assert memorization(
        [np.ones((3, 2)), np.ones((3, 2)) / 2], np.array([0, 0, 0])
    ).tolist() == pytest.approx([0.375] * 3)
