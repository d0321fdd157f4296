"""Many classes in groups, and the pairs of classes with extreme cosines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cohaudit.report.figures.class_map import extreme_pairs, group_classes


def planted(classes: int, kinds: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return cosines of classes of several kinds in random order, near 1 within a kind, and the kinds."""
    rng = np.random.default_rng(0)
    kind = rng.permutation(np.arange(classes) % kinds)
    vectors = np.eye(kinds)[kind] + 0.05 * rng.normal(size=(classes, kinds))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T, kind


def test_few_classes_have_a_row_each() -> None:
    cosines, _ = planted(40, 4)
    shown = group_classes(cosines)
    assert shown.groups == tuple((i,) for i in range(40))
    off = ~np.eye(40, dtype=bool)
    assert (shown.matrix[off] == cosines[off]).all()
    assert np.isnan(np.diag(shown.matrix)).all()


@pytest.mark.parametrize("classes", [41, 100, 1000])
def test_many_classes_are_in_groups_that_pull_alike(classes: int) -> None:
    cosines, kind = planted(classes, 4)
    shown = group_classes(cosines)
    assert sorted(i for group in shown.groups for i in group) == list(range(classes))
    sizes = {len(group) for group in shown.groups}
    assert max(sizes) - min(sizes) <= 1
    pure = [len({kind[i] for i in group}) == 1 for group in shown.groups]
    assert np.mean(pure) > 0.8
    a, b = shown.groups[0], shown.groups[-1]
    assert shown.matrix[0, -1] == pytest.approx(cosines[np.ix_(a, b)].mean())


def test_the_most_central_class_names_its_group() -> None:
    cosines, _ = planted(100, 4)
    for group in group_classes(cosines).groups:
        sums = cosines[np.ix_(group, group)].sum(1)
        assert sums[0] == sums.max()


def test_pairs_are_the_lowest_and_the_highest_and_none_is_in_both() -> None:
    cosines = np.array([[1, -0.5, 0.25], [-0.5, 1, 0.75], [0.25, 0.75, 1]])
    assert extreme_pairs(cosines, 2) == ([(0, 1), (0, 2)], [(1, 2)])
    assert extreme_pairs(cosines[:2, :2], 5) == ([(0, 1)], [])
