"""The stability bound: against a loop over single steps, and as a thing that never falls."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.audits.training.lr_schedule import Schedule, read_schedule, steps_at
from cohaudit.audits.training.stability_bound import Segment, stability
from cohaudit.errors import ConfigError
from cohaudit.results import Skipped

NONE = Skipped("gap of the losses", "none was given")
STRETCHES = st.lists(
    st.builds(
        Segment,
        checkpoint=st.just("ckpt"),
        steps=st.integers(1, 30),
        rate=st.floats(1e-4, 1),
        alpha=st.floats(0, 0.99),
        smoothness=st.floats(0, 5),
        lipschitz=st.floats(0.1, 10),
        measured=st.just(NONE),
    ),
    min_size=1,
    max_size=6,
)


@given(STRETCHES, st.integers(2, 5000))
def test_it_is_the_sum_over_single_steps(stretches: list[Segment], samples: int) -> None:
    found = stability(stretches, samples)
    bound, flat, largest = 0.0, 0.0, 0.0
    for own, term in zip(stretches, found.terms, strict=True):
        largest = max(largest, own.lipschitz)
        for _ in range(own.steps):
            step = own.rate * math.sqrt(2 * (1 - own.alpha))
            bound = bound * (1 + own.rate * own.smoothness) + step
            flat += step
        scale = largest**2 / samples
        assert term.log10_bound == pytest.approx(math.log10(scale * bound), abs=1e-5)
        assert term.total == pytest.approx(scale * flat, rel=1e-9)


@given(STRETCHES, st.integers(2, 5000))
def test_it_never_falls(stretches: list[Segment], samples: int) -> None:
    terms = stability(stretches, samples).terms
    for before, after in itertools.pairwise(terms):
        assert after.total >= before.total
        assert after.log10_bound >= before.log10_bound - 1e-9


def test_a_bound_beyond_any_float_is_told_by_its_power() -> None:
    far = Segment("ckpt", 100_000, 0.1, 0.5, 50.0, 1.0, NONE)
    (term,) = stability([far], 10).terms
    assert term.log10_bound == pytest.approx(100_000 * math.log10(6), rel=1e-3)


def test_gradients_that_are_all_equal_add_nothing() -> None:
    same = Segment("ckpt", 10, 0.1, 1.0, 1.0, 1.0, NONE)
    assert stability([same], 10).terms[0].total == 0


# steps and learning rates


def test_rates_are_averaged_over_the_steps_between_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,lr\n0,0.1\n10,0.01\n")
    schedule = read_schedule("log.csv", 0, tmp_path)
    assert schedule.rate(0, 10, math.nan) == pytest.approx(0.1)
    assert schedule.rate(5, 15, math.nan) == pytest.approx(0.055)
    assert schedule.rate(40, 60, math.nan) == pytest.approx(0.01)
    assert Schedule().rate(0, 10, 0.3) == 0.3


@pytest.mark.parametrize("text", ["", "step,lr\n", "a,b\n1,2\n", "step,lr\n1,x\n", "step,lr\n5,0.1\n1,0.1\n"])
def test_a_log_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ConfigError, match="step"):
        read_schedule("log.csv", 0, tmp_path)


@pytest.mark.parametrize("rate", ["0", "-0.1", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: str) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        read_schedule(rate, 0, tmp_path)


def test_steps_are_told_by_optimizers_then_by_names() -> None:
    names = ["run2/epoch-1.pt", "run2/epoch-3.pt", "run2/epoch-9.pt"]
    assert steps_at(names, [5, 20, 30], Schedule()) == [5, 20, 30]
    assert steps_at(names, [-1, 20, 30], Schedule(steps_per_epoch=4)) == [4, 12, 36]
    assert steps_at(["step-10.pt", "step-25.pt"], [-1, -1], Schedule()) == [10, 25]
    many = ["epoch=1-step=100-v1.ckpt", "epoch=2-step=200-v2.ckpt"]
    assert steps_at(many, [-1, -1], Schedule(steps_per_epoch=4)) == [100, 200]
    assert steps_at(["checkpoint-20/model.pt", "checkpoint-40/model.pt"], [-1, -1], Schedule()) == [20, 40]
    for told in (
        steps_at(names, [-1, -1, -1], Schedule()),
        steps_at(["a.pt", "b.pt"], [-1, -1], Schedule(steps_per_epoch=4)),
        steps_at(["a1-0.5.pt", "a2-0.4.pt"], [-1, -1], Schedule(steps_per_epoch=4)),
        steps_at(names, [5, 5, 9], Schedule()),
    ):
        assert isinstance(told, Skipped)


def test_a_rate_that_falls_to_nothing_lets_the_bound_stand() -> None:
    first = Segment("a", 10, 0.1, 0.2, 1.0, 1.0, NONE)
    same = Segment("b", 10, 0.1, 1.0, 0.0, 1.0, NONE)  # gradients all equal: nothing is added
    terms = stability([first, same], 10).terms
    assert terms[1].log10_bound == pytest.approx(terms[0].log10_bound)
