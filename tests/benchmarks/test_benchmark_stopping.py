"""The stopping benchmark: its plan covers what it claims; schedules and augmentation do what they say."""

from __future__ import annotations

import pytest
import torch

from benchmarks.audits.stopping import with_left_out
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


def test_the_constant_of_a_family_is_chosen_on_the_others() -> None:
    def row(family: str, good: float) -> dict[str, object]:
        picks = {f"trajectory, {p}": int(p == good) for p in (0.25, 0.35, 0.5, 0.6, 0.75, 1.0)}
        return {"family": family, "test": [0.5, 0.8], "picks": picks, "patience": 0.7}

    first, second = with_left_out([row("a", 0.25), row("b", 0.75)])
    assert (first["left_out"]["power"], second["left_out"]["power"]) == (0.75, 0.25)
    assert first["regret"]["trajectory"] == pytest.approx(30)
