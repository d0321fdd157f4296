"""The gates as JUnit XML, which Jenkins, GitLab and most other build servers show as tests.

A gate that warns is written as skipped, with its reason. A passed test has no place for a reason: GitLab
drops the output of passed tests (lib/gitlab/ci/parsers/test/junit.rb) and Jenkins hides it. Both list skipped
tests with their message, and neither fails a build for them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

from cohaudit.report.words import text
from cohaudit.results import Audit

AUDITABLE = "the model can be audited"
"""Name of the test that is always there: Jenkins treats a file without tests as an error."""
MAX_TEST_NAME = 240
"""Characters of a test's name at most: servers show it on one line."""
MAX_TEST_REASON = 2000
"""Characters of a reason at most."""

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent."""

Case = tuple[str, str, str]
"""Name of a test, its outcome ('passed', 'failed' or 'skipped'), and the reason."""


def render_junit(audit: Audit) -> bytes:
    """Render the gates as the tests of one suite, in UTF-8.

    Args:
        audit: Result of a scan.

    Returns:
        The file's content. Equal audits give equal content, because it holds no times.
    """
    cases = list(_cases(audit))
    counts = Counter(outcome for _, outcome, _ in cases)
    numbers = {
        "tests": str(len(cases)),
        "failures": str(counts["failed"]),
        "errors": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "cohaudit", **numbers})
    # the schema of Jenkins knows `skipped` in a suite, but not in the root
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": "cohaudit", **numbers, "skipped": str(counts["skipped"])}
    )
    for name, outcome, reason in cases:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "cohaudit", "name": name})
        if outcome == "failed":
            ElementTree.SubElement(case, "failure", {"message": reason, "type": "gate"}).text = reason
        elif outcome == "skipped":  # GitLab reads the content, Jenkins the message
            ElementTree.SubElement(
                case, "skipped", {"message": f"warned: {reason}"}
            ).text = f"warned: {reason}"
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _cases(audit: Audit) -> Iterator[Case]:
    sanity = audit.sanity
    yield AUDITABLE, "passed" if sanity.auditable else "failed", _legal(sanity.reason, MAX_TEST_REASON)
    seen: Counter[str] = Counter()
    for gate in audit.gates:
        # counted after the cut: long names that are cut alike would be one test too
        name = _legal(gate.expression, MAX_TEST_NAME)
        seen[name] += 1  # GitLab only reads the first of several tests with one name
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        outcome = "skipped" if gate.outcome == "warned" else gate.outcome
        yield name, outcome, _legal(gate.reason, MAX_TEST_REASON)


def _legal(raw: str, limit: int) -> str:
    return _ILLEGAL.sub("\ufffd", text(raw, limit).short)
