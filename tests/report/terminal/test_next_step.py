"""The last line of a scan: a command that a shell can take, for the paths of this run."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from support.audits import make_audit

from cohaudit.report.terminal.next_step import after_correction, next_step
from cohaudit.report.terminal.summary import render_summary
from cohaudit.results import Audit, Skipped, WrongLabels

FILES = [Path("my report/report.html"), Path("my report/audit.json")]
DATA = Path("my data/train.npz")
SUBJECT = ["a model.pt", "--model", "net.py:build"]


def without_suspects(told: bool, questions: tuple[str, ...] = ("7",)) -> Audit:
    audit = make_audit()
    wrong = audit.wrong_labels
    assert isinstance(wrong, WrongLabels)
    samples = audit.samples.assign(suspect=False)
    return replace(audit, samples=samples, wrong_labels=replace(wrong, told=told), questions=questions)


def few_wrong(audit: Audit) -> Audit:
    assert not isinstance(audit.wrong_labels, Skipped)
    return replace(audit, wrong_labels=replace(audit.wrong_labels, level="low"))


@pytest.mark.parametrize(
    ("audit", "data", "command"),
    [
        (make_audit(auditable=False), DATA, ["doctor", *SUBJECT]),
        (
            make_audit(),
            DATA,
            ["correct", "my report/audit.json", "--data", str(DATA), "--out", "my data/train-corrected.npz"],
        ),
        (
            make_audit(),
            Path("photos"),
            ["correct", "my report/audit.json", "--data", "photos", "--out", "photos-corrected"],
        ),
        (make_audit(), None, ["export", "my report/audit.json", "--format", "csv"]),
        (without_suspects(told=False), DATA, ["review", "my report/audit.json"]),
        # no suspect, but many wrong labels: what a correction leaves
        (without_suspects(told=True), DATA, ["review", "my report/audit.json"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_an_audit_calls_for(audit: Audit, data: Path | None, command: list[str]) -> None:
    assert shlex.split(next_step(audit, FILES, data, SUBJECT).command) == ["cohaudit", *command]


@pytest.mark.parametrize(
    "audit",
    [
        few_wrong(without_suspects(told=True)),
        without_suspects(told=False, questions=()),
        replace(without_suspects(told=True), wrong_labels=Skipped("wrong labels", "not judged")),
    ],
)
def test_an_audit_that_calls_for_nothing_becomes_the_baseline(audit: Audit) -> None:
    command = next_step(audit, FILES, DATA, SUBJECT).command
    assert command == "cp 'my report/audit.json' baseline.json"


def test_the_command_is_the_last_line_whole_however_narrow_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    then = next_step(make_audit(), FILES, DATA, SUBJECT)
    lines = render_summary(make_audit(), FILES, io.StringIO(), then=then).splitlines()
    assert lines[-1] == f"  {then.command}"
    assert len(lines[-1]) > 40
    assert any(line.startswith("Next: ") for line in lines)


def test_a_correction_ends_in_the_commands_for_what_is_trained_on_it() -> None:
    scan, diff = after_correction(Path("my report/audit.json"), Path("my data/train-corrected.npz"))
    copy, out = "my data/train-corrected.npz", "my data/train-corrected-report"
    assert shlex.split(scan) == ["cohaudit", "scan", "CHECKPOINT", "--data", copy, "--out", out]
    assert shlex.split(diff) == ["cohaudit", "diff", "my report/audit.json", f"{out}/audit.json"]
