"""Combined predictions: weights by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cohaudit.analysis.combined_prediction import combine_predictions


def test_views_are_weighted_by_what_they_fit_of_the_unsupported_labels() -> None:
    labels = np.array([0, 0, 1, 1])
    first = np.eye(2)[[0, 1, 1, 0]]  # does not support the second and the fourth label
    second = np.eye(2)[[0, 0, 1, 0]]  # fits one of them
    third = np.eye(2)[labels]  # fits what is left
    found = combine_predictions([first, second, third], labels, 3)
    # of the variance, 4 · ½, the first leaves 4, the second 2 and the third 0; less than nothing counts 0.001
    expected = np.array([0.001, 0.001 * 0.5**3, 0])
    assert found.weights == pytest.approx(expected / expected.sum())
    assert found.scores == pytest.approx((first + 0.5**3 * second) / (1 + 0.5**3))
    assert found.overfit_share.tolist() == [0, 0.5, 1]
    assert found.disagreements.tolist() == [0, 2, 2], "the first one still outweighs the second"
    assert combine_predictions([first], labels, 3).scores == pytest.approx(first)
