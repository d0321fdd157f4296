"""Failed gates and suspects as GitHub's workflow commands, shown beside the changed lines.

Values are escaped as in github.com/actions/toolkit, packages/core/src/command.ts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cohaudit.report.formats.suspects import format_correction, list_suspects
from cohaudit.report.words import count, plural, probability, text
from cohaudit.results import Audit, GateResult
from cohaudit.review.verdicts import generalization_verdict, label_verdict

MAX_ANNOTATIONS = 10
"""Annotations of each level at most: GitHub shows no more of one step."""
MAX_ANNOTATION_SENTENCE = 400
"""Characters of a sentence at most: an annotation is read beside the code."""


def render_annotations(audit: Audit) -> str:
    """Render the audit as workflow commands, one per line.

    Args:
        audit: Result of a scan.

    Returns:
        Failed gates as errors, then warned gates and the most suspicious samples as warnings, then the
        verdict as a notice; at most `MAX_ANNOTATIONS` of each level.
    """
    failed = [_gate("error", "gate failed", gate) for gate in audit.gates if gate.failed]
    warned = [_gate("warning", "gate warned", gate) for gate in audit.gates if gate.outcome == "warned"]
    # GitHub counts warned gates and suspects together: both are warnings.
    suspects = list(_suspects(audit, MAX_ANNOTATIONS - len(warned)))
    notice = _command("notice", {"title": "cohaudit"}, _verdict(audit, len(suspects)))
    return "".join(f"{line}\n" for line in (*_first(failed), *warned[:MAX_ANNOTATIONS], *suspects, notice))


def _first(failed: Sequence[str]) -> list[str]:
    """Return the first failed gates; the last line counts the rest, if there are too many."""
    if len(failed) <= MAX_ANNOTATIONS:
        return list(failed)
    rest = f"{count(len(failed) - MAX_ANNOTATIONS + 1)} more gates failed. See the report."
    return [*failed[: MAX_ANNOTATIONS - 1], _command("error", {"title": "cohaudit: gates failed"}, rest)]


def _gate(level: str, what: str, gate: GateResult) -> str:
    message = f"{_short(gate.expression, 120)}: {_short(gate.reason, MAX_ANNOTATION_SENTENCE)}"
    return _command(level, {"title": f"cohaudit: {what}"}, message)


def _suspects(audit: Audit, limit: int) -> Iterator[str]:
    for _, one in zip(range(max(0, limit)), list_suspects(audit), strict=False):
        correction = format_correction(repr(_short(one.label, 60)), repr(_short(one.suggested, 60)))
        where = {"file": one.place, "line": str(one.line or "")}
        message = f"Sample {_short(one.id, 80)} is {correction} (suspicion {probability(one.suspicion)})"
        yield _command("warning", {"title": "cohaudit: suspect label", **where}, message)


def _verdict(audit: Audit, annotated: int) -> str:
    if not audit.sanity.auditable:
        return f"Not auditable: {_short(audit.sanity.reason, MAX_ANNOTATION_SENTENCE)}"
    total = int(audit.samples["suspect"].sum())
    if audit.lists_suspects or total:
        suspects = plural(total, "suspect") + (
            f", {annotated} of them annotated" if annotated < total else ""
        )
    else:
        suspects = "no suspects are listed: which labels are wrong cannot be told"
    verdicts = (("Labels", label_verdict(audit)), ("generalization", generalization_verdict(audit)))
    words = [f"{name} {one.level}: {_short(one.headline, MAX_ANNOTATION_SENTENCE)}" for name, one in verdicts]
    return "; ".join([*words, suspects])


def _short(raw: str, limit: int) -> str:
    return text(raw, limit).short


def _command(level: str, properties: dict[str, str], message: str) -> str:
    """Return a workflow command without its empty properties."""
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {given}::{_data(message)}"


def _data(value: str) -> str:
    # % first: the other escapes contain it
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    # a colon ends the properties of a command, a comma one of them
    return _data(value).replace(":", "%3A").replace(",", "%2C")
