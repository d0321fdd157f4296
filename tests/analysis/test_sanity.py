"""The sanity check: chance does not pass, whatever the classes' sizes; a model that knows its data does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohaudit.analysis.sanity import check_sanity, is_skilled

Integers = NDArray[np.int64]

SIZES = {
    "two classes": [40, 40],
    "ten classes": [30] * 10,
    "one rare sample": [1, *[100] * 19],
    "three rare samples": [1, 1, 1, *[60] * 17],
    "five among a thousand": [5, 995],
    "pairs": [2] * 50,
    "single samples": [1] * 200,
}
uneven = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def labels_of(sizes: list[int]) -> Integers:
    return np.repeat(np.arange(len(sizes)), sizes)


def passes(predicted: Integers, labels: Integers) -> bool:
    return check_sanity(predicted, labels, names_of(labels), 0.0).auditable


def names_of(labels: Integers) -> list[str]:
    return [f"class {c}" for c in range(int(labels.max()) + 1)]


@uneven
@pytest.mark.parametrize("habit", ["uniform", "as frequent as the labels", "half of them the rarest class"])
def test_random_predictions_are_not_auditable(sizes: list[int], habit: str) -> None:
    labels, generator = labels_of(sizes), np.random.default_rng(0)
    passed = 0
    for _ in range(500):
        predicted = generator.integers(len(sizes), size=len(labels))
        if habit == "as frequent as the labels":
            predicted = generator.permutation(labels)
        elif habit == "half of them the rarest class":
            predicted[generator.random(len(labels)) < 0.5] = 0
        passed += passes(predicted, labels)
    assert passed <= 5


@uneven
def test_a_model_that_is_mostly_right_is_auditable(sizes: list[int]) -> None:
    labels, generator = labels_of(sizes), np.random.default_rng(0)
    predicted = np.where(generator.random(len(labels)) < 0.3, generator.permutation(labels), labels)
    assert passes(labels, labels)
    assert passes(predicted, labels)


@pytest.mark.parametrize(
    ("classes", "hits", "auditable"), [(10, 0.18, False), (10, 0.2, True), (2, 0.54, False), (2, 0.56, True)]
)
def test_a_model_has_to_come_a_tenth_of_the_way_from_chance_to_perfect(
    classes: int, hits: float, auditable: bool
) -> None:
    labels, place = labels_of([1000] * classes), np.arange(1000 * classes)
    wrong = (labels + 1 + place % (classes - 1)) % classes
    assert passes(np.where(place % 1000 < 1000 * hits, labels, wrong), labels) == auditable


def test_one_class_of_ten_that_is_half_recognized_by_luck_is_not_auditable() -> None:
    # as of an untrained network, which may well see a class apart and happen to give it the right name
    labels, generator = labels_of([200] * 10), np.random.default_rng(0)
    predicted = generator.integers(10, size=2000)
    predicted[:100] = 0
    assert not passes(predicted, labels)


def test_a_perfect_model_is_auditable_when_a_class_has_two_samples_of_a_thousand() -> None:
    labels = labels_of([2, 998])
    assert passes(labels, labels)


@uneven
def test_a_model_that_always_predicts_one_class_is_not_auditable(sizes: list[int]) -> None:
    labels = labels_of(sizes)
    for constant in (0, len(sizes) - 1):
        assert not passes(np.full_like(labels, constant), labels)


def test_a_wrong_order_of_classes_is_not_auditable() -> None:
    labels = labels_of([50] * 5)
    found = check_sanity((labels + 1) % 5, labels, names_of(labels), 0.0)
    assert not found.auditable
    assert "class 1 for samples labeled class 0, class 2 for samples labeled class 1," in found.reason
    assert "--class-names" in found.reason
    assert (found.balanced_accuracy, found.chance) == (0.0, 0.2)
    assert "accuracy: 0% (" in found.reason
    assert "20.0%" in found.reason


def test_two_classes_exchanged_are_named_though_most_labels_are_given() -> None:
    labels = labels_of([50] * 5)
    predicted = np.array([0, 3, 2, 1, 4])[labels]
    predicted[:20] = 4  # not every sample is recognized
    found = check_sanity(predicted, labels, names_of(labels), 0.0)
    assert not found.auditable
    assert "class 3 for samples labeled class 1, class 1 for samples labeled class 3:" in found.reason


def test_a_class_mostly_confused_with_another_is_not_another_order() -> None:
    labels = labels_of([50] * 5)
    assert passes(np.array([0, 0, 2, 3, 4])[labels], labels)


@pytest.mark.parametrize(
    ("hits", "by_neighbors", "auditable"),
    [(0.28, 0.91, False), (0.44, 0.91, False), (0.47, 0.91, True), (0.2, 0.45, True), (0.28, None, True)],
)
def test_a_model_has_to_give_half_of_what_its_layers_know(
    hits: float, by_neighbors: float | None, auditable: bool
) -> None:
    labels, place = labels_of([1000] * 10), np.arange(10_000)
    wrong = (labels + 1 + place % 9) % 10
    predicted = np.where(place % 1000 < 1000 * hits, labels, wrong)
    found = check_sanity(predicted, labels, names_of(labels), 0.0, by_neighbors)
    assert found.auditable == auditable
    assert auditable or (f"{hits:.1%}" in found.reason and f"{by_neighbors:.1%}" in found.reason)
    assert not auditable or f"{found.chance:.1%}" in found.reason


def test_a_balanced_accuracy_below_chance_is_not_auditable_even_if_no_accident() -> None:
    # it tells the two large classes apart, where it does not take them for the third
    labels = labels_of([100, 100, 2])
    predicted = np.repeat([0, 2, 1, 2, 0], [45, 55, 45, 55, 2])
    found = check_sanity(predicted, labels, names_of(labels), 0.0)
    assert found.balanced_accuracy == pytest.approx(0.3)
    assert not found.auditable


def test_six_samples_are_too_few_to_audit() -> None:
    assert not passes(labels_of([3, 3]), labels_of([3, 3]))


def test_the_numbers_are_the_plain_ones() -> None:
    labels = labels_of([8, 2])
    predicted = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 0])
    found = check_sanity(predicted, labels, names_of(labels), 1.5)
    assert found.accuracy == 0.7
    assert found.balanced_accuracy == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert found.chance == 0.5
    assert found.mean_loss == 1.5


def test_equal_predictions_get_equal_answers() -> None:
    labels = labels_of([6, 6])
    predicted = np.where(np.arange(12) == 3, 1 - labels, labels)
    assert len({passes(predicted, labels) for _ in range(30)}) == 1


def test_too_few_samples_are_not_called_hardly_better_than_chance() -> None:
    labels = labels_of([2, 2])
    found = check_sanity(labels, labels, names_of(labels), 0.0)
    assert not found.auditable
    assert "100%" in found.reason
    assert "4 labels" in found.reason
    assert is_skilled(labels, labels, 2), "so it is not called hardly better than chance"
