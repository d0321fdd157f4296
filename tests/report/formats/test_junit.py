"""The gates as JUnit XML: what Jenkins's schema asks for, and what Jenkins and GitLab show."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import HOSTILE, gate, make_audit

from cohaudit.report.formats.junit import AUDITABLE, render_junit
from cohaudit.results import Audit, GateResult

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[2] / "schemas" / "junit-10.xsd")
WARNED = GateResult("suspects>1%", "0.05", False, "12 of 240 (5%), above 1%", warned=True)
AUDIT = make_audit(suspects=0, samples=20, classes=2)


def cases(audit: Audit) -> dict[str, ElementTree.Element]:
    content = render_junit(audit)
    SCHEMA.validate(content.decode())
    root = ElementTree.fromstring(content)
    suite = root.find("testsuite")
    assert suite is not None
    found = suite.findall("testcase")
    for place in (root, suite):
        assert int(place.attrib["tests"]) == len(found)
        assert int(place.attrib["failures"]) == len(suite.findall("testcase/failure"))
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
    named = {case.attrib["name"]: case for case in found}
    assert len(named) == len(found)  # GitLab drops what has a name again
    return named


def with_gates(*gates: GateResult) -> Audit:
    return make_audit(suspects=0, samples=20, classes=2, gates=gates)


def test_each_gate_is_a_test() -> None:
    found = cases(with_gates(gate(failed=True), WARNED, gate(failed=False)))
    assert list(found) == [AUDITABLE, "risk>=high", "suspects>1%", "risk>=severe"]
    assert [[child.tag for child in case] for case in found.values()] == [[], ["failure"], ["skipped"], []]
    failure, warning = found["risk>=high"][0], found["suspects>1%"][0]
    assert failure.attrib["message"] == failure.text == "the risk is high, at or above high"
    assert warning.attrib["message"] == warning.text == "warned: 12 of 240 (5%), above 1%"


def test_without_gates_there_is_still_a_test() -> None:
    assert list(cases(AUDIT)) == [AUDITABLE]


def test_a_model_that_is_not_auditable_fails() -> None:
    audit = make_audit(auditable=False, suspects=0, samples=20, classes=2)
    assert audit.sanity.reason in str(cases(audit)[AUDITABLE][0].text)


def test_a_gate_given_twice_has_two_names() -> None:
    found = cases(with_gates(gate(failed=True), gate(failed=True), WARNED))
    assert list(found)[1:] == ["risk>=high", "risk>=high (2)", "suspects>1%"]


def test_long_names_that_are_cut_alike_are_told_apart() -> None:
    names = ["x" * 5000 + "a" * 300, "x" * 5001 + "a" * 300]
    assert len(cases(with_gates(*(GateResult(n, "", True, n) for n in names)))) == 3


def test_hostile_names_stay_text() -> None:
    names = (*HOSTILE, "]]>", "\ufffe\uffff", "\ud800", "\u0085\u2028", "&#0;")
    found = cases(with_gates(*(GateResult(name, name, True, name) for name in names)))
    assert len(found) == 1 + len(names)


@settings(max_examples=100)
@given(st.text(max_size=30))
def test_whatever_a_name_is(name: str) -> None:
    gates = tuple(GateResult(name, name, not warned, name, warned) for warned in (True, False))
    root = ElementTree.fromstring(render_junit(with_gates(*gates)))
    assert len(root.findall("testsuite/testcase")) == 3
