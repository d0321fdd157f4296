"""Kinds of samples and near-duplicates: on arrays where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.near_duplicates import joint_view, likeness
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.results.kinds import SAMPLE_KINDS

quick = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def kind_of(expected: list[float], suspicion: float, twin: int = -1) -> tuple[str, float]:
    """Return the kind of a sample of class 0 among others."""
    names, certainty = kinds_of(
        np.array([expected]),
        np.array([0]),
        np.array([suspicion]),
        np.array([suspicion >= 0.5]),
        np.array([twin]),
    )
    return str(names[0]), float(certainty[0])


def test_a_sample_whose_label_the_others_give_is_typical() -> None:
    assert kind_of([0.9, 0.05, 0.03, 0.02], 0.1) == ("typical", pytest.approx(0.9 * 0.9))


def test_a_suspect_is_mislabeled_as_surely_as_it_is_suspect() -> None:
    assert kind_of([0.0, 0.5, 0.5, 0.0], 0.7) == ("mislabeled", 0.7)


def test_a_sample_between_two_labels_is_ambiguous() -> None:
    assert kind_of([0.4, 0.6, 0.0, 0.0], 0.2) == ("ambiguous", pytest.approx(0.8 * 0.6))


def test_a_sample_that_the_others_know_nothing_of_is_rare() -> None:
    assert kind_of([0.25, 0.25, 0.25, 0.25], 0.0) == ("rare", pytest.approx(0.75))


def test_of_two_classes_nothing_is_rare() -> None:
    assert kind_of([0.3, 0.7], 0.1) == ("ambiguous", pytest.approx(0.9 * 0.7))


def test_a_twin_is_a_duplicate_unless_its_label_is_suspect() -> None:
    assert kind_of([0.9, 0.1, 0, 0], 0.0, twin=3) == ("duplicate", 1.0)
    assert kind_of([0.1, 0.9, 0, 0], 0.8, twin=3) == ("mislabeled", 0.8)


@quick
@given(seeds, st.integers(2, 6))
def test_every_sample_is_of_one_kind_with_a_probability(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    expected, suspicion = generator.dirichlet(np.ones(classes), 50), generator.random(50)
    twins = np.where(generator.random(50) < 0.1, 1, -1)
    names, certainty = kinds_of(
        expected, generator.integers(classes, size=50), suspicion, suspicion > 0.4, twins
    )
    assert set(names) <= set(SAMPLE_KINDS)
    assert ((certainty >= 0) & (certainty <= 1)).all()
    assert ((names == "mislabeled") == (suspicion > 0.4)).all()


# Near-duplicates


def views(seed: int, samples: int = 60) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((samples, width)).astype(np.float32) for width in (300, 1021, 40)]


def test_copies_are_found_and_nothing_else_is() -> None:
    seen = views(0)
    generator = np.random.default_rng(1)
    for view in seen:
        view[7] = view[3]
        view[20] = view[11] + 0.02 * generator.standard_normal(view.shape[1])
    found = likeness(seen)
    expected = np.full(60, -1)
    expected[[7, 3, 20, 11]] = 3, 7, 11, 20
    assert found.duplicate_of.tolist() == expected.tolist()
    assert found.nearly_same(7, [3, 11, 20]) == [True, False, False]
    assert found.nearly_same(7, []) == []


def test_alike_in_one_layer_is_no_duplicate() -> None:
    seen = views(2)
    seen[1][5] = seen[1][4]
    assert likeness(seen).duplicate_of.max() == -1


@quick
@given(seeds)
def test_the_joint_view_keeps_the_mean_cosine_of_the_views(seed: int) -> None:
    seen = views(seed, 8)
    joint, _ = joint_view(seen)
    exact = torch.zeros(8, 8)
    for view in seen:
        rows = torch.nn.functional.normalize(torch.from_numpy(view - view.mean(0)), dim=1)
        exact += rows @ rows.T / len(seen)
    # a sketch's error, for each of 9 pairs of views: at most about 1 / √width
    assert torch.allclose(joint @ joint.T, exact, atol=0.25)
    assert torch.allclose(joint.norm(dim=1), torch.ones(8), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_duplicates_are_found_at_any_scale(scale: float) -> None:
    seen = [view * np.float32(scale) for view in views(3)]
    for view in seen:
        view[9] = view[2]
    assert np.flatnonzero(likeness(seen).duplicate_of >= 0).tolist() == [2, 9]


def test_views_that_see_nothing_make_no_duplicates() -> None:
    blind = [np.ones((5, 3), dtype=np.float32)]
    assert likeness(blind).duplicate_of.tolist() == [-1] * 5


@pytest.mark.parametrize("columns", [2, 4])
def test_in_a_table_of_few_columns_only_copies_are_duplicates(columns: int) -> None:
    """Every row has others in nearly the same direction there."""
    table = np.random.default_rng(0).standard_normal((400, columns)).astype(np.float32)
    table[9] = table[2]
    twins = likeness([table]).duplicate_of
    assert {twins[9], twins[2]} == {2, 9}
    assert (twins >= 0).sum() <= 8
