"""The stopping benchmark: its plan covers what it claims; schedules and augmentation do what they say."""

from __future__ import annotations

import pytest
import torch

from benchmarks.audits.stopping import interval
from benchmarks.audits.stopping_networks import augment, rate_factor
from benchmarks.audits.stopping_plan import SCHEDULES, plans


def test_every_data_set_is_trained_under_every_schedule() -> None:
    found = plans()
    assert len({plan.file for plan in found}) == len(found) >= 40
    assert len({plan.family for plan in found}) >= 8
    for data in {plan.data for plan in found}:
        assert {plan.schedule for plan in found if plan.data == data} == set(SCHEDULES)
    assert all(plan.checkpoints[-1] == plan.epochs for plan in found)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("constant", 1, 1), ("cosine", 0.5, 0), ("step", 0.1, 0.01), ("warm-up", 0.625, 0)],
)
def test_a_schedule_has_its_shape(schedule: str, middle: float, end: float) -> None:
    assert rate_factor(schedule, 0.5) == pytest.approx(middle)
    assert rate_factor(schedule, 1.0) == pytest.approx(end)
    assert (rate_factor(schedule, 0.0) < 0.1) == (schedule == "warm-up")


def test_augmentation_keeps_shapes_and_words() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 16, 16)
    changed = augment(images, flip=True, generator=generator)
    assert changed.shape == images.shape
    assert set(changed.flatten().tolist()) <= set(images.flatten().tolist())
    words = torch.arange(1, 41).reshape(2, 20)
    kept = augment(words, flip=False, generator=generator)
    assert ((kept == words) | (kept == 0)).all()
    assert (kept == 0).any()


def test_the_interval_of_a_rule_holds_its_mean_and_tells_how_families_differ() -> None:
    def rows(*regrets: float) -> list[dict[str, object]]:
        return [
            {"family": str(k), "regret": {"rule": value}} for k, value in enumerate(regrets) for _ in "ab"
        ]

    low, high = interval(rows(*[0.5] * 6, *[1.5] * 6), "rule")
    assert 0.5 < low < 1 < high < 1.5
    assert interval(rows(*[2.0] * 5), "rule") == (2, 2)
