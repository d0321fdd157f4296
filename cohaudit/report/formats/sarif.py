"""The suspects as SARIF 2.1.0, which code scanning and editors show in the files that they point into.

The standard: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. What GitHub reads of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from cohaudit.report.formats.suspects import Suspect, format_correction, list_suspects
from cohaudit.report.words import count, plural, probability, text
from cohaudit.results import Audit

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST = 5_000
"""Results of a run that GitHub takes."""
RULE = "suspect-label"
BASE = "%SRCROOT%"
"""What the paths are relative to: where the scan was started."""
ERROR = 0.9
WARNING = 0.5
"""Suspicions from which a suspect is an error (nine of ten such labels are wrong), or a warning (more likely
wrong than right)."""
LONGEST_NAME = 120
LONGEST_SENTENCE = 1000


def render_sarif(audit: Audit) -> str:
    """Render the suspects as a SARIF log of one run.

    Args:
        audit: The result of a scan.

    Returns:
        JSON in ASCII, ending in a newline: equal for equal audits.
    """
    found = list(list_suspects(audit))
    run = {
        "tool": {"driver": _driver(audit)},
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": list(_notifications(audit, found))}
        ],
        "originalUriBaseIds": {BASE: {"description": {"text": "Where cohaudit scan was started."}}},
        "columnKind": "unicodeCodePoints",
        "results": list(_results(found[:MOST])),
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1) + "\n"


def _driver(audit: Audit) -> dict[str, Any]:
    what = (
        "The other samples say, by what the network's layers see of them, that this sample has another label "
        "than the given one."
    )
    remedy = (
        "Look at the sample. If the label is wrong, correct it or drop the sample (cohaudit correct); if it "
        "is right, write that down in a file of suppressions."
    )
    rule = {
        "id": RULE,
        "name": "SuspectLabel",
        "shortDescription": {"text": "The label of a training sample is probably wrong."},
        "fullDescription": {"text": what},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["data-quality", "label-noise"]},
    }
    return {"name": "cohaudit", "version": audit.version, "rules": [rule]}


def _notifications(audit: Audit, found: list[Suspect]) -> Iterator[dict[str, Any]]:
    """Yield what a reader must know that is no result."""
    if len(found) > MOST:
        rest = len(found) - MOST
        told = (
            f"{plural(rest, 'suspect')} of {count(len(found))} left out: a run takes {count(MOST)} results."
        )
        yield _notification("warning", told)
    nowhere = sum(not one.place for one in found)
    if nowhere:
        told = f"{plural(nowhere, 'suspect')} in no file: GitHub takes no results without a file."
        yield _notification("warning", told)
    if not audit.sanity.auditable:
        yield _notification("error", f"No label was judged: {_plain(audit.sanity.reason, LONGEST_SENTENCE)}")
    for notice in audit.notices:
        yield _notification("note", _plain(notice, LONGEST_SENTENCE))


def _notification(level: str, message: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": message}}


def _results(found: list[Suspect]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for one in found:
        content = one.content.removeprefix("sha256:")
        seen[content] += 1  # equal samples are told apart by their number, as in GitHub's own fingerprints
        fingerprints = {
            "primaryLocationLineHash": f"{content[:16]}:{seen[content]}",
            "sampleContent/v1": content,
        }
        yield {
            "ruleId": RULE,
            "ruleIndex": 0,
            "level": _level(one.suspicion),
            "rank": round(100 * one.suspicion, 4),
            "message": {"text": _message(one)},
            "locations": [_location(one)],
            "partialFingerprints": fingerprints if content else {},
            "properties": {"suspicion": one.suspicion, "given": one.label, "suggested": one.suggested},
        }


def _level(suspicion: float) -> str:
    if suspicion >= ERROR:
        return "error"
    return "warning" if suspicion >= WARNING else "note"


def _message(one: Suspect) -> str:
    told = format_correction(f"“{_plain(one.label)}”", f"“{_plain(one.suggested)}”")
    return f"Sample {_plain(one.id)} is {told} (suspicion {probability(one.suspicion)})."


def _plain(raw: str, limit: int = LONGEST_NAME) -> str:
    """Return a text that a viewer takes for neither placeholders nor links (sections 3.11.5 and 3.11.6)."""
    shown = text(raw, limit).short
    return re.sub(r"\](?=\()", "]\u200b", shown.replace("{", "{{").replace("}", "}}"))


def _location(one: Suspect) -> dict[str, Any]:
    logical = {"name": one.id, "fullyQualifiedName": one.id, "kind": "element"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if one.place:
        location["physicalLocation"] = {
            "artifactLocation": _artifact(one.place),
            "region": {"startLine": one.line or 1},  # GitHub asks for a line, also in a file that has none
        }
    return location


def _artifact(place: str) -> dict[str, str]:
    """Return a file as a URI: relative to the base, or absolute where it lies elsewhere."""
    path = quote(place.encode("utf-8", "surrogateescape"))
    if re.match(r"[A-Za-z]:/", place):  # a drive of Windows
        return {"uri": f"file:///{place[:2]}{path[4:]}"}
    return {"uri": f"file://{path}"} if place.startswith("/") else {"uri": path, "uriBaseId": BASE}
