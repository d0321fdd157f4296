"""Steps and learning rates between checkpoints: from logs, optimizers and names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cohaudit.audits.training.lr_schedule import Schedule, read_schedule, steps_at
from cohaudit.errors import ConfigError
from cohaudit.results import Skipped


def test_rates_are_averaged_over_the_steps_between_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,lr\n0,0.1\n10,0.01\n")
    schedule = read_schedule("log.csv", 0, tmp_path)
    assert schedule.rate(0, 10, math.nan) == pytest.approx(0.1)
    assert schedule.rate(5, 15, math.nan) == pytest.approx(0.055)
    assert schedule.rate(40, 60, math.nan) == pytest.approx(0.01)
    assert Schedule().rate(0, 10, 0.3) == 0.3


@pytest.mark.parametrize("text", ["", "step,lr\n", "a,b\n1,2\n", "step,lr\n1,x\n", "step,lr\n5,0.1\n1,0.1\n"])
def test_an_invalid_log_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ConfigError, match="step"):
        read_schedule("log.csv", 0, tmp_path)


@pytest.mark.parametrize("rate", ["0", "-0.1", "nan", "inf"])
def test_an_invalid_rate_is_refused(tmp_path: Path, rate: str) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        read_schedule(rate, 0, tmp_path)


def test_steps_come_from_optimizers_then_from_names() -> None:
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
