"""The robust mean audit: which samples own the update, and the advice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.single_gradients import CPU, OPTIONS, fit_network, ignore, one_by_one, source
from torch import nn

from cohaudit.audits.robust_mean import SampleFlags, robust_step, sample_coordinates, summarize
from cohaudit.audits.winsorized_statistics import (
    CLIPS,
    MAX_COORDINATES_PER_LAYER,
    CoordinateSample,
    averages,
    groups_of_three,
)
from cohaudit.results import RobustStep, Skipped


def standing(count: int, memorized: int = 0) -> SampleFlags:
    memorization = np.where(np.arange(count) < memorized, 0.9, 0.1)
    return SampleFlags([f"s{i}" for i in range(count)], memorization, memorization > 0.8)


def test_a_sample_that_stands_apart_is_clipped_most_and_owns_the_mean_not_the_robust_step() -> None:
    model, x, y = fit_network()
    x[0] *= 100
    found = robust_step(model, source(x, y), standing(60, 1), options=OPTIONS, device=CPU, advance=ignore)
    assert isinstance(found, RobustStep)
    assert found.clipped[0].id == "s0"
    assert found.clipped[0].suspect
    assert found.clipped_memorized == found.memorized == found.suspects == 1
    mean, *_, most = found.steps
    assert mean.memorized.value > 0.9
    assert most.memorized.value < 0.5
    assert mean.memorized == mean.suspects
    assert found.averages[1].kept.value < 0.5
    assert [one.coordinates for one in found.layers] == [one.parameters for one in found.layers] == [30, 21]


def test_the_share_of_the_step_is_that_of_gradients_one_by_one() -> None:
    model, x, y = fit_network()
    found = robust_step(model, source(x, y), standing(60, 12), options=OPTIONS, device=CPU, advance=ignore)
    assert isinstance(found, RobustStep)
    rows = np.concatenate(list(one_by_one(model, x, y.numpy()).values()), axis=1)
    expected = rows[:12].sum(0) @ rows.mean(0) / (rows.sum(0) @ rows.mean(0))
    assert found.steps[0].memorized.value == pytest.approx(expected, rel=1e-6)


def test_where_gradients_are_tiny_nothing_is_lost() -> None:
    model, x, y = fit_network()
    both = []
    for factor in (1.0, 1e3):
        with torch.no_grad():
            model[2].weight.mul_(factor)
        found = robust_step(model, source(x, y), standing(60, 5), options=OPTIONS, device=CPU, advance=ignore)
        assert isinstance(found, RobustStep)
        both.append(found)
    assert all(np.isfinite(one.kept.value) and one.kept.value > 0 for one in both[1].averages)


def test_what_cannot_be_measured_is_skipped_with_its_reason() -> None:
    model, x, y = fit_network(24)
    few = robust_step(model, source(x, y), standing(24), options=OPTIONS, device=CPU, advance=ignore)
    assert isinstance(few, Skipped)
    assert "found 24" in few.reason
    model, x, y = fit_network()
    unknown = SampleFlags([f"s{i}" for i in range(60)], np.full(60, np.nan), np.zeros(60, dtype=bool))
    found = robust_step(model, source(x, y), unknown, options=OPTIONS, device=CPU, advance=ignore)
    assert isinstance(found, Skipped)
    assert "memorization" in found.reason


def test_many_samples_have_fewer_coordinates() -> None:
    model = nn.Linear(1000, 100)
    some, fewer = (sum(map(len, sample_coordinates(model, count, 0).values())) for count in (1000, 100_000))
    assert some == MAX_COORDINATES_PER_LAYER
    assert fewer == 128 * 2**20 // 4 // 100_000
    assert len(CLIPS) == 2


def gradients_that(cancel: bool) -> np.ndarray:
    """Return gradients of 100 samples that agree; three pull hard, against the others or with them."""
    generator = np.random.default_rng(0)
    rows = generator.normal(1, 0.1, (100, 40))
    rows[:3] = generator.normal(-15 if cancel else 60, 1, (3, 40))
    return rows


@pytest.mark.parametrize(
    ("cancel", "suspects", "expected"),
    [
        (True, 3, "Correct or drop the 3 suspects"),
        (True, 0, "nothing to do"),
        (False, 3, "keep the mean"),
    ],
)
def test_advice_is_to_correct_where_single_samples_cancel_the_rest(
    cancel: bool, suspects: int, expected: str
) -> None:
    memorization = np.where(np.arange(100) < 3, 0.9, 0.1)
    those = SampleFlags([str(i) for i in range(100)], memorization, np.arange(100) < suspects)
    drawn = {
        "fc": CoordinateSample(40, [averages(gradients_that(cancel), those.sets, groups_of_three(100, 0))])
    }
    found = summarize(drawn, those, 0)
    assert expected in found.advice
    assert "Memorized samples, 3.0% of all" in found.advice
    assert {one.id for one in found.clipped[:3]} == {"0", "1", "2"}
