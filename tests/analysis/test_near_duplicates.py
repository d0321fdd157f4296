"""Near-duplicates: among views where the copies are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.near_duplicates import compare_views, joint_view

quick = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def views(seed: int, samples: int = 60) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((samples, width)).astype(np.float32) for width in (300, 1021, 40)]


def test_copies_are_found_and_nothing_else_is() -> None:
    seen = views(0)
    generator = np.random.default_rng(1)
    for view in seen:
        view[7] = view[3]
        view[20] = view[11] + 0.02 * generator.standard_normal(view.shape[1])
    found = compare_views(seen)
    expected = np.full(60, -1)
    expected[[7, 3, 20, 11]] = 3, 7, 11, 20
    assert found.duplicate_of.tolist() == expected.tolist()
    assert found.nearly_same(7, [3, 11, 20]) == [True, False, False]
    assert found.nearly_same(7, []) == []


def test_alike_in_one_layer_is_no_duplicate() -> None:
    seen = views(2)
    seen[1][5] = seen[1][4]
    assert compare_views(seen).duplicate_of.max() == -1


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
    assert np.flatnonzero(compare_views(seen).duplicate_of >= 0).tolist() == [2, 9]


def test_views_that_see_nothing_make_no_duplicates() -> None:
    blind = [np.ones((5, 3), dtype=np.float32)]
    assert compare_views(blind).duplicate_of.tolist() == [-1] * 5


@pytest.mark.parametrize("columns", [2, 4])
def test_in_a_table_of_few_columns_only_copies_are_duplicates(columns: int) -> None:
    """Every row has others in nearly the same direction there."""
    table = np.random.default_rng(0).standard_normal((400, columns)).astype(np.float32)
    table[9] = table[2]
    twins = compare_views([table]).duplicate_of
    assert {twins[9], twins[2]} == {2, 9}
    assert (twins >= 0).sum() <= 8
