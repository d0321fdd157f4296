"""What causes the gap: each driver with its numbers, in order of its share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cohaudit.analysis.gap_drivers import READABLE_REMEDY, DriverInputs, find_drivers
from cohaudit.results import Driver, Estimate, Skipped


def inputs(**changes: Any) -> DriverInputs:
    labels = np.repeat([0, 1], 50)
    memorization = np.zeros(100)
    memorization[:12] = 0.9
    suspect = np.zeros(100, dtype=bool)
    suspect[:5] = True
    known = {
        "labels": labels,
        "memorization": memorization,
        "suspect": suspect,
        "layers": ["fc1", "fc2"],
        "overfit_share": np.array([0.0, 0.1, 0.2]),
        "disagreements": np.array([0, 40, 40]),
        "names": ["cat", "dog"],
        "class_gaps": [Estimate(0.3, 0.2, 0.4), Estimate(0.1, 0.0, 0.2)],
        "class_accuracy": [1.0, 0.9],
        "mean_loss": 0.5,
        "gap": 0.2,
    }
    return DriverInputs(**(known | changes))


def driver(kind: str, **changes: Any) -> Driver | None:
    found = [one for one in find_drivers(inputs(**changes)) if one.kind == kind]
    return found[0] if found else None


def test_samples_are_counted_and_their_wrong_labels_named() -> None:
    found = driver("samples")
    assert found is not None
    assert found.measured == 0.12
    assert "12 of 100 labels (12.0%)" in found.reason
    assert "5 of them look mislabeled" in found.reason
    assert found.lowers == pytest.approx(12 * 0.9 / 100)
    assert "the 5 memorized samples that look mislabeled" in found.remedy
    assert "The other 7 are rare or hard" in found.remedy
    assert driver("samples", memorization=np.zeros(100)) is None
    right = driver("samples", suspect=np.zeros(100, dtype=bool))
    assert right is not None
    assert right.remedy.startswith("The 12 memorized samples are rare or hard")
    assert "mislabeled" not in right.reason
    wrong = driver("samples", suspect=np.ones(100, dtype=bool))
    assert wrong is not None
    assert "rare" not in wrong.remedy


def test_the_first_layer_that_overfit_is_named() -> None:
    found = driver("layer", overfit_share=np.array([0.0, 0.75, 1.0]))
    assert found is not None
    assert (found.name, found.measured) == ("fc2", 0.75)
    for told in ("layer fc2", "75%", "40 labels"):
        assert told in found.reason
    assert found.remedy == READABLE_REMEDY
    last = driver("layer", overfit_share=np.array([0.0, 0.1, 1.0]))
    assert last is not None
    assert (last.name, last.measured) == ("output", 1.0)
    assert driver("layer") is None
    few = np.array([0, 9, 9])
    assert driver("layer", overfit_share=np.array([0.0, 0.75, 1.0]), disagreements=few) is None, (
        "nine labels tell nothing"
    )


def test_a_class_worse_than_the_model_is_named_with_what_is_expected_of_it() -> None:
    found = [one for one in find_drivers(inputs()) if one.kind == "class"]
    assert [one.name for one in found] == ["cat"]
    assert found[0].measured == 0.3
    assert "100% training accuracy, about 70.0% expected on new data" in found[0].reason
    for told in ("class cat", "50", "5 suspects"):
        assert told in found[0].remedy
    assert found[0].lowers == pytest.approx(0.3 / 2), "half of the samples are of it"


def test_a_loss_near_zero_is_reported() -> None:
    found = driver("training", mean_loss=0.0031)
    assert found is not None
    assert "0.0031" in found.reason
    assert driver("training") is None


def test_the_largest_part_comes_first_and_none_is_more_than_the_whole() -> None:
    found = find_drivers(inputs(overfit_share=np.array([0.0, 0.75, 1.0]), mean_loss=0.01))
    assert [one.kind for one in found] == ["class", "samples", "layer", "training"]
    assert [isinstance(one.lowers, Skipped) for one in found] == [False, False, True, True]
    small = find_drivers(inputs(gap=0.05, class_gaps=[Estimate(0.3, 0.2, 0.4), Estimate(0.1, 0.0, 0.2)]))
    assert {one.lowers for one in small if not isinstance(one.lowers, Skipped)} == {0.05}


def test_without_a_gap_nothing_drives_it() -> None:
    assert find_drivers(inputs(gap=0.01)) == ()
