"""Near-duplicates: among views where the copies are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis import near_duplicates
from cohaudit.analysis.near_duplicates import (
    EXACT_SAMPLES,
    SearchRecall,
    compare_views,
    joint_view,
    search_notice,
)
from cohaudit.analysis.nearest_neighbors import nearest
from cohaudit.analysis.neighbor_forest import ROWS_PER_LEAF, near_pairs

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


# Many samples


def unit(rows: NDArray[np.floating]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1)


@quick
@given(seeds, st.integers(2, 60), st.integers(1, 8), st.integers(1, 6))
def test_the_nearest_rows_are_those_of_all_pairs(seed: int, count: int, width: int, kept: int) -> None:
    generator = np.random.default_rng(seed)
    rows = unit(generator.standard_normal((count, width)))
    asked = torch.from_numpy(generator.permutation(count)[: count // 2 + 1])
    exact = (rows @ rows.T).fill_diagonal_(0).clamp(0, 1)[asked]
    cosines, others = nearest(rows, asked, kept)
    k = min(kept, count)
    assert cosines[:, :k] == pytest.approx(exact.topk(k).values, abs=1e-6)
    assert not cosines[:, k:].any()
    assert cosines == pytest.approx(exact.gather(1, others).where(cosines > 0, 0.0), abs=1e-6)


@settings(max_examples=10)
@given(seeds, st.sampled_from([5, ROWS_PER_LEAF, ROWS_PER_LEAF + 1, 1000]), st.sampled_from([3, 20]))
def test_a_forest_names_only_near_pairs_and_hardly_misses_one(seed: int, count: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count, width))
    rows[1::2] = rows[: count - 1 : 2][: len(rows[1::2])] + 1e-4 * generator.standard_normal(rows[1::2].shape)
    points = unit(rows)
    found = np.zeros((count, count), dtype=bool)
    for own, other, cosines in near_pairs(points, 0.9999):
        assert (own != other).all()
        assert cosines.numpy() == pytest.approx((points[own] * points[other]).sum(1).numpy(), abs=1e-5)
        found[own, other] = True
    twins = [found[i, i + 1] and found[i + 1, i] for i in range(0, count - 1, 2)]
    assert np.mean(twins) > 0.98
    if count <= ROWS_PER_LEAF:
        exact = (points @ points.T).fill_diagonal_(0) >= 0.9999
        assert (found == exact.numpy()).all()


@pytest.fixture(scope="module")
def many() -> NDArray[np.float32]:
    """Return clusters of samples, of which every tenth has a copy, with a little noise."""
    generator = np.random.default_rng(5)
    count = EXACT_SAMPLES + 808
    seen = generator.standard_normal((60, 24))[generator.integers(60, size=count)]
    seen += generator.standard_normal(seen.shape)
    seen[1:count:10] = seen[0 : count - 1 : 10] + 0.01 * generator.standard_normal(seen[1:count:10].shape)
    return seen.astype(np.float32)


def test_among_many_samples_a_forest_finds_the_duplicates_of_all_pairs(
    many: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare_views([many])
    again = compare_views([many])
    assert (found.duplicate_of == again.duplicate_of).all()
    assert isinstance(found.recall, SearchRecall)
    assert found.recall.samples == near_duplicates.SAMPLED
    assert found.recall.found / found.recall.duplicates > 0.99
    monkeypatch.setattr(near_duplicates, "EXACT_SAMPLES", len(many))
    exact = compare_views([many])
    assert exact.recall is None
    assert found.margin == pytest.approx(exact.margin, rel=0.1)
    twins = exact.duplicate_of >= 0
    assert twins.sum() == pytest.approx(1800, abs=20)
    assert (found.duplicate_of[twins] == exact.duplicate_of[twins]).mean() > 0.99
    assert (found.duplicate_of[~twins] >= 0).sum() <= 5
    known = found.recall
    assert search_notice(found) == (
        f"Near-duplicates were searched by an index, which misses a few: of {known.duplicates:,} samples "
        f"with one among 2,048 compared with all others, it found {known.found:,}."
    )
    assert search_notice(exact) == ""
