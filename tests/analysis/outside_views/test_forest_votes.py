"""The forest's votes in blocks, against scikit-learn's of all samples; and where there is no forest."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from cohaudit.analysis.outside_views import columns
from cohaudit.arrays import blocks


def test_votes_in_blocks_are_the_out_of_bag_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    table = generator.standard_normal((120, 4)).astype(np.float32)
    # the second of three classes has no sample
    labels = 2 * (table[:, 0] + 0.3 * generator.standard_normal(120) > 0).astype(np.int64)
    whole = columns._forest(table, labels, 3, seed=1)
    forest = RandomForestClassifier(
        columns.TREES, min_samples_leaf=2, max_samples=120, oob_score=True, random_state=1
    ).fit(table, labels)
    assert whole[:, [0, 2]] == pytest.approx(forest.oob_decision_function_)
    assert not whole[:, 1].any()
    monkeypatch.setattr(blocks, "NUMBERS_PER_BLOCK", 29)
    assert columns._forest(table, labels, 3, seed=1) == pytest.approx(whole)


def test_very_many_classes_are_predicted_by_regression_alone() -> None:
    classes = columns.MAX_FOREST_CLASSES + 1
    labels = np.arange(3 * classes) % classes
    table = np.random.default_rng(0).standard_normal((classes, 40))[labels].astype(np.float32)
    table += 0.1 * np.random.default_rng(1).standard_normal(table.shape).astype(np.float32)
    found = columns.predict_from_columns(table, labels, classes, seed=0)
    assert found.name == "ridge regression on the 40 input columns"
    assert (found.probability.argmax(1) == labels).mean() > 0.5
    assert found.probability.sum(1) == pytest.approx(1)
