"""Workflow commands, read back as GitHub's runner reads them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import HOSTILE, gate, make_audit

from cohaudit.report import render_annotations
from cohaudit.results import Audit, GateResult

WARNED = GateResult("suspects>1%", "0.05", False, "12 of 240 (5%), above 1%", warned=True)

SMALL = make_audit(samples=6, suspects=1, evidence=0, classes=2)


def unescaped(value: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        value = value.replace(code, character)
    return value


def commands(audit: Audit) -> list[tuple[str, dict[str, str], str]]:
    """Read as the runner does: the first line end ends a command, the first '::' its properties."""
    found = []
    for line in re.split(r"\r\n|[\r\n]", render_annotations(audit).removesuffix("\n")):
        head, separator, data = line.removeprefix("::").partition("::")
        assert line.startswith("::")
        assert separator
        level, _, given_properties = head.partition(" ")
        pairs = [pair.partition("=") for pair in given_properties.split(",")]
        found.append((level, {name: unescaped(value) for name, _, value in pairs}, unescaped(data)))
    return found


def test_gates_that_fail_are_errors_and_suspects_are_warnings() -> None:
    audit = make_audit(kind="row", suspects=3, gates=(gate(failed=True), WARNED, gate(failed=False)))
    found = commands(audit)
    assert [level for level, _, _ in found] == ["error", "warning", "warning", "warning", "warning", "notice"]
    assert found[0][1:] == (
        {"title": "cohaudit: gate failed"},
        "risk>=high: the risk is high, at or above high",
    )
    assert found[1][1:] == ({"title": "cohaudit: gate warned"}, "suspects>1%: 12 of 240 (5%), above 1%")
    for (_, properties, message), evidence in zip(found[2:5], audit.evidence[:3], strict=True):
        assert (properties["file"], properties["line"]) == (evidence.place, str(evidence.line))
        assert evidence.id in message
    assert found[-1][2] == (
        "Labels high: About 6.2% of the labels are wrong; generalization high: 84.4% accuracy expected on "
        "new data; 3 suspects"
    )


def test_images_have_no_line_and_samples_in_memory_no_file() -> None:
    audit = make_audit(suspects=1)
    assert [set(properties) for _, properties, _ in commands(audit)] == [{"title", "file"}, {"title"}]
    nowhere = replace(audit, evidence=tuple(replace(one, place="") for one in audit.evidence))
    assert [set(properties) for _, properties, _ in commands(nowhere)] == [{"title"}, {"title"}]


@pytest.mark.parametrize("warned", [0, 4, 30])
def test_github_shows_ten_of_a_level(warned: int) -> None:
    gates = tuple(replace(WARNED, expression=f"suspects>{k}") for k in range(warned))
    audit = make_audit(suspects=40, gates=(*gates, *(gate(failed=True),) * 30))
    found = commands(audit)
    levels = [level for level, _, _ in found]
    assert (levels.count("error"), levels.count("warning"), levels.count("notice")) == (10, 10, 1)
    assert found[9][2] == "21 more gates failed. See the report."
    assert found[-1][2].endswith(f"40 suspects, {max(0, 10 - warned)} of them annotated")


def test_what_could_not_be_judged_says_so() -> None:
    (one,) = commands(make_audit(auditable=False, suspects=0))
    assert one[2].startswith("Not auditable: no better than chance")


def test_no_suspects_do_not_read_as_correct_labels_where_it_cannot_be_told() -> None:
    (one,) = commands(make_audit(told=False))
    assert one[2].endswith("no suspects are listed: which labels are wrong cannot be told")
    (clean,) = commands(make_audit(suspects=0))
    assert clean[2].endswith("; 0 suspects")


def hostile(name: str) -> Audit:
    return replace(
        SMALL,
        gates=(GateResult(name, name, True, name),),
        samples=SMALL.samples.assign(label=name, suggested=name + "x"),
        evidence=tuple(replace(one, place=name) for one in SMALL.evidence),
    )


@pytest.mark.parametrize("name", [*HOSTILE, "a\r\n::error::x", "a,file=b:c::d", "%0A%25", "##[error]x"])
def test_hostile_names_make_no_commands(name: str) -> None:
    found = commands(hostile(name))
    assert [level for level, _, _ in found] == ["error", "warning", "notice"]
    assert found[1][1].get("file", "") == name


@settings(max_examples=100)
@given(st.text(max_size=20))
def test_whatever_a_name_is(name: str) -> None:
    found = commands(hostile(name))
    assert [level for level, _, _ in found] == ["error", "warning", "notice"]
    assert found[1][1].get("file", "") == name
