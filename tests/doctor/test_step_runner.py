"""The runner of the doctor's steps: it runs what can be run, and names the root cause of what cannot."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cohaudit.doctor.finding import Finding, Status
from cohaudit.doctor.step_runner import Opened, Part, Step, StepRunner
from cohaudit.errors import DataError

FILE = Part[str]("the file")
TABLE = Part[list[int]]("the table")
SUM = Part[int]("the sum")


def step(check: str, needs: tuple[Part[Any], ...], opens: Part[Any] | None, value: Any) -> Step[Any]:
    return Step(check, needs, lambda opened: (Finding(check, "ok", "fine"), value), opens)


def failing(check: str, opens: Part[Any]) -> Step[Any]:
    def run(opened: Opened) -> tuple[Finding, Any]:
        raise DataError("train.csv", "is empty", "fill it")

    return Step(check, (), run, opens)


def outcomes(steps: list[Step[Any]], runner: StepRunner | None = None) -> list[tuple[str, Status, str]]:
    return [(one.check, one.status, one.found) for one in (runner or StepRunner()).run(steps)]


def test_a_step_gets_what_the_steps_before_it_opened() -> None:
    runner = StepRunner()
    total = Step(
        "total", (TABLE,), lambda opened: (Finding("total", "ok", ""), sum(opened[TABLE])), SUM, timed=True
    )
    outcomes([step("table", (), TABLE, [1, 2]), total], runner)
    assert runner.opened[SUM] == 3
    assert FILE not in runner.opened


def test_what_cannot_be_run_names_the_root_cause_alone() -> None:
    steps = [
        failing("file", FILE),
        step("table", (FILE,), TABLE, [1]),
        step("sum", (FILE, TABLE), SUM, 1),
        step("other", (), None, None),
    ]
    assert outcomes(steps) == [
        ("file", "failed", "train.csv: is empty"),
        ("table", "not run", "needs the file"),
        ("sum", "not run", "needs the file"),
        ("other", "ok", "fine"),
    ]


def test_several_causes_are_all_named() -> None:
    steps = [failing("file", FILE), failing("table", TABLE), step("sum", (TABLE, FILE), SUM, 1)]
    assert outcomes(steps)[-1] == ("sum", "not run", "needs the table and the file")


@pytest.mark.parametrize(("status", "is_open"), [("ok", True), ("warning", True), ("failed", False)])
def test_a_part_with_a_warning_is_open(status: Status, is_open: bool) -> None:
    runner = StepRunner()
    outcomes([Step("file", (), lambda opened: (Finding("file", status, ""), "text"), FILE)], runner)
    assert (FILE in runner.opened) == is_open


def test_only_timed_steps_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    runner = StepRunner()
    timed = Step("file", (), lambda opened: (Finding("file", "ok", ""), ""), FILE, timed=True)
    outcomes([timed, step("table", (), TABLE, [])], runner)
    assert runner.seconds == 1
