"""The suspects as SARIF 2.1.0, which code scanning and editors show in the files they refer to.

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

from cohaudit.report.formats.suspects import SuspectLine, format_correction, list_suspects
from cohaudit.report.words import count, plural, probability, text
from cohaudit.results import Audit
from cohaudit.results.thresholds import WRONG_SUSPICION

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""Address of the JSON Schema of SARIF 2.1.0."""
MAX_RESULTS = 5_000
"""Results of a run at most: GitHub takes no more."""
RULE = "suspect-label"
"""Id of the only rule."""
BASE = "%SRCROOT%"
"""Name of the folder that paths are relative to: the one where the scan was started."""
ERROR_SUSPICION = 0.9
"""Suspicion from which a suspect is an error: nine of ten such labels are wrong."""
MAX_SARIF_NAME = 120
"""Characters of a name at most, so that a message stays on a line or two."""
MAX_SARIF_SENTENCE = 1000
"""Characters of a sentence at most."""


def render_sarif(audit: Audit) -> str:
    """Render the suspects as a SARIF log of one run.

    Args:
        audit: Result of a scan.

    Returns:
        JSON in ASCII, ending in a newline. Equal audits give equal text.
    """
    found = list(list_suspects(audit))
    run = {
        "tool": {"driver": _driver(audit)},
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": list(_notifications(audit, found))}
        ],
        "originalUriBaseIds": {BASE: {"description": {"text": "Folder where cohaudit scan was started."}}},
        "columnKind": "unicodeCodePoints",
        "results": list(_results(found[:MAX_RESULTS])),
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1) + "\n"


def _driver(audit: Audit) -> dict[str, Any]:
    what = (
        "The other samples, as the network's layers see them, suggest another label for this sample than "
        "the given one."
    )
    remedy = (
        "Look at the sample. If the label is wrong, correct it or drop the sample (cohaudit correct). If "
        "it is correct, record that in a suppressions file."
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


def _notifications(audit: Audit, found: list[SuspectLine]) -> Iterator[dict[str, Any]]:
    """Yield what a reader must know besides the results."""
    if len(found) > MAX_RESULTS:
        rest = len(found) - MAX_RESULTS
        left_out = f"{plural(rest, 'suspect')} of {count(len(found))} left out"
        yield _notification("warning", f"{left_out}: a run has at most {count(MAX_RESULTS)} results.")
    nowhere = sum(not one.place for one in found)
    if nowhere:
        without = f"{plural(nowhere, 'suspect')} without a file"
        yield _notification("warning", f"{without}: GitHub does not take results without a file.")
    if not audit.sanity.auditable:
        yield _notification(
            "error", f"No label was judged: {_plain(audit.sanity.reason, MAX_SARIF_SENTENCE)}"
        )
    for notice in audit.notices:
        yield _notification("note", _plain(notice, MAX_SARIF_SENTENCE))


def _notification(level: str, message: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": message}}


def _results(found: list[SuspectLine]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for one in found:
        # Fingerprints follow the content, so that an alert stays the same when its row or file moves.
        content = one.content.removeprefix("sha256:")
        seen[content] += 1  # equal samples differ by their number, as in GitHub's own fingerprints
        fingerprints = {
            # GitHub reads this fingerprint only, the other one is for other readers
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
    if suspicion >= ERROR_SUSPICION:
        return "error"
    return "warning" if suspicion >= WRONG_SUSPICION else "note"


def _message(one: SuspectLine) -> str:
    correction = format_correction(f"“{_plain(one.label)}”", f"“{_plain(one.suggested)}”")
    return f"Sample {_plain(one.id)} is {correction} (suspicion {probability(one.suspicion)})."


def _plain(raw: str, limit: int = MAX_SARIF_NAME) -> str:
    """Return a text without SARIF's placeholders and links (sections 3.11.5 and 3.11.6)."""
    shown = text(raw, limit).short
    return re.sub(r"\](?=\()", "]\u200b", shown.replace("{", "{{").replace("}", "}}"))


def _location(one: SuspectLine) -> dict[str, Any]:
    logical = {"name": one.id, "fullyQualifiedName": one.id, "kind": "element"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if one.place:
        location["physicalLocation"] = {
            "artifactLocation": _artifact(one.place),
            "region": {"startLine": one.line or 1},  # GitHub requires a line, even in a file that has none
        }
    return location


def _artifact(place: str) -> dict[str, str]:
    """Return a file as a URI: relative to the base, or absolute if it is elsewhere."""
    # surrogateescape gives back the bytes of a file name that is not UTF-8
    path = quote(place.encode("utf-8", "surrogateescape"))
    if re.match(r"[A-Za-z]:/", place):  # a Windows drive
        # quote wrote the colon of the drive as %3A: its four characters are replaced
        return {"uri": f"file:///{place[:2]}{path[4:]}"}
    return {"uri": f"file://{path}"} if place.startswith("/") else {"uri": path, "uriBaseId": BASE}
