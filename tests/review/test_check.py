"""Gates from Python: the results of `cohaudit.check`, for an audit and for its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.audits import make_audit
from support.differences import with_gap

import cohaudit
from cohaudit.errors import ConfigError, ReportError
from cohaudit.results import Skipped

AUDIT = make_audit(samples=200, suspects=10)


def test_gates_pass_and_fail() -> None:
    found = cohaudit.check(AUDIT, fail_on=["suspects>2%", "suspects>50%"], warn_on="accuracy<100%")
    assert [gate.outcome for gate in found.gates] == ["failed", "passed", "warned"]
    assert (found.passed, found.failed) == (False, True)
    assert found.gates[0].expression == "suspects>2%"


def test_a_warning_does_not_fail() -> None:
    found = cohaudit.check(AUDIT, warn_on="suspects>2%")
    assert (found.passed, found.gates[0].warned) == (True, True)


def test_one_text_is_one_gate() -> None:
    assert cohaudit.check(AUDIT, fail_on="suspects>50%") == cohaudit.check(AUDIT, fail_on=("suspects>50%",))


def test_the_value_alone_can_be_enough() -> None:
    gap = AUDIT.generalization
    assert not isinstance(gap, Skipped)
    inside = f"predicted_gap>{(gap.gap.low + gap.gap.value) / 2}"
    assert cohaudit.check(AUDIT, fail_on=inside).passed
    assert cohaudit.check(AUDIT, fail_on=inside, gate_on_value=True).failed


def test_a_file_gives_the_same(tmp_path: Path) -> None:
    cohaudit.write_report(AUDIT, tmp_path)
    path = tmp_path / "audit.json"
    assert cohaudit.check(path, fail_on="risk>=low") == cohaudit.check(AUDIT, fail_on="risk>=low")
    assert cohaudit.check(str(path), fail_on="suspects>50%").passed


@pytest.mark.parametrize(
    ("gates", "where"),
    [
        ({}, "check"),
        ({"fail_on": "rsk>=high"}, "--fail-on 'rsk>=high'"),
        ({"warn_on": ["coherence.layer.none<0.1"]}, "--warn-on 'coherence.layer.none<0.1'"),
    ],
)
def test_a_gate_that_cannot_be_evaluated_is_refused(gates: dict[str, str], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cohaudit.check(AUDIT, **gates)
    assert caught.value.where == where


def test_a_layer_whose_parameters_were_skipped_can_be_named() -> None:
    frozen = replace(AUDIT, skipped=(Skipped("parameter embed.weight", "it is frozen"),))
    assert cohaudit.check(frozen, fail_on="coherence.layer.embed<0.1").failed


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError):
        cohaudit.check(tmp_path / "audit.json", fail_on="risk>=high")
    with pytest.raises(ReportError):
        cohaudit.compare(AUDIT, tmp_path / "audit.json")


@pytest.mark.parametrize("source", [3, None])
def test_what_is_neither_an_audit_nor_a_path_is_refused(source: Any) -> None:
    with pytest.raises(ReportError, match="give an Audit, or the path"):
        cohaudit.check(source, fail_on="risk>=high")
    with pytest.raises(ReportError, match="give an Audit, or the path"):
        cohaudit.compare(AUDIT, source)
    with pytest.raises(ConfigError):
        cohaudit.check(AUDIT, fail_on=source)


def test_a_difference_of_files_is_that_of_their_audits(tmp_path: Path) -> None:
    cohaudit.write_report(AUDIT, tmp_path / "base")
    other = with_gap(0.5, audit=make_audit(samples=200, suspects=40))
    found = cohaudit.compare(tmp_path / "base" / "audit.json", other)
    assert found == cohaudit.compare(AUDIT, other)
    assert found.suspects is not None
    assert found.headline == "worse"
