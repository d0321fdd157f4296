"""`cohaudit check`: the gates of a scan, held against an audit that is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.audits import HOSTILE, make_audit

from cohaudit.cli import main
from cohaudit.config import Config
from cohaudit.results import Skipped
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.gates import gate_results

AUDIT = make_audit(samples=200, suspects=10)
CONDITIONS = ("risk>=high", "risk>=severe", "suspects>4%", "accuracy<0.5", "predicted_gap>0.15", "loss>9")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "audit.json"
    file.write_text(audit_to_json(AUDIT), encoding="utf-8")
    return file


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", str(path), *arguments])


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("more", [(), ("--gate-on-value",)])
def test_the_gates_are_those_of_a_scan(path: Path, condition: str, more: tuple[str, ...]) -> None:
    (expected,) = gate_results(Config(fail_on=(condition,), gate_on_value=bool(more)), AUDIT)
    result = run(path, "--fail-on", condition, *more, "--json")
    (gate,) = json.loads(result.stdout)["gates"]
    assert (gate["failed"], gate["warned"], gate["reason"]) == (
        expected.failed,
        expected.warned,
        expected.reason,
    )
    assert result.exit_code == int(expected.failed)
    assert bool(result.stderr) == (expected.outcome != "passed")


def test_all_gates_are_listed_with_what_came_of_them(path: Path) -> None:
    result = run(path, "--fail-on", "risk>=high", "--fail-on", "loss>9", "--warn-on", "suspects>4%")
    assert result.exit_code == 1
    words = " ".join(result.stdout.split())
    for expected in (
        "risk>=high FAILED",
        "loss>9 passed",
        "suspects>4% warned",
        "10 of 200 (5%)",
    ):
        assert expected in words
    assert run(path, "--warn-on", "suspects>4%").exit_code == 0


def test_what_was_not_measured_fails(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    file.write_text(audit_to_json(make_audit(auditable=False)), encoding="utf-8")
    result = run(file, "--fail-on", "loss>9")
    assert result.exit_code == 1
    assert "not auditable" in result.stdout


def test_a_layer_that_was_left_out_is_known_but_not_measured(path: Path) -> None:
    skipped = Skipped("parameter embed.table.weight", "it is frozen")
    path.write_text(audit_to_json(replace(AUDIT, skipped=(skipped,))), encoding="utf-8")
    result = run(path, "--fail-on", "coherence.layer.embed.table<0", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["gates"][0]["measured"] == "not measured"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no gate was given"),
        (("--fail-on", "risk"), "is not METRIC OPERATOR VALUE"),
        (("--warn-on", "rsk>=high"), "there is no metric 'rsk'"),
        (("--fail-on", "coherence.layer.body.9.fc<0"), "there is no layer 'body.9.fc'"),
        (("--fail-on", "coherence.class.cat<0"), "there is no class 'cat'"),
    ],
)
def test_bad_usage_is_refused(path: Path, arguments: tuple[str, ...], told: str) -> None:
    result = run(path, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize("text", [None, "", "{}", '{"schema_version": "0.1"}', "[" * 100_000])
def test_what_is_no_audit_is_refused(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    result = run(path, "--fail-on", "loss>9")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {path}")


def test_levels_of_risk_that_are_none_are_bad_input(path: Path) -> None:
    path.write_text(audit_to_json(replace(AUDIT, settings={"risk_levels": "all"})), encoding="utf-8")
    result = run(path, "--fail-on", "risk>=high")
    assert result.exit_code == 2
    assert "settings.risk_levels of the audit" in result.stderr


def test_hostile_names_can_do_nothing(path: Path) -> None:
    path.write_text(audit_to_json(make_audit(hostile=True)), encoding="utf-8")
    result = run(path, "--fail-on", f"coherence.layer.{HOSTILE[2]}>=-1", "--gate-on-value")
    assert result.exit_code == 1
    assert not {c for c in result.stdout if not c.isprintable()} - {"\n"}
