"""The suspects of an audit with where they lie, for the formats that list them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cohaudit.results import Audit
from cohaudit.results.json_encode import escape_stray_bytes


@dataclass(frozen=True)
class Suspect:
    """A sample that looks mislabeled, as it stands in the audit."""

    id: str
    label: str
    suggested: str
    suspicion: float
    content: str
    """Hash of its input."""
    place: str
    """Path of its file; empty when in memory."""
    line: int
    """Line there, from 1; 0 where there is none."""


def list_suspects(audit: Audit) -> Iterator[Suspect]:
    """Yield the suspects, most suspicious first."""
    table = audit.suspects
    columns = (table[name].tolist() for name in ("id", "label", "suggested", "suspicion"))
    evidence = {one.id: one for one in audit.evidence}
    for name, label, suggested, suspicion in zip(*columns, strict=True):
        if one := evidence.get(name):
            names = escape_stray_bytes(name), escape_stray_bytes(label), escape_stray_bytes(suggested)
            yield Suspect(*names, suspicion, one.content, one.place, one.line)


def format_correction(label: str, suggested: str) -> str:
    """Say what a suspect is labeled, and what the others say.

    Args:
        label: As given, fit for the format.
        suggested: By the other samples, likewise; the label again where they have no better one.
    """
    if suggested == label:
        return f"labeled {label}, which the other samples speak against"
    return f"labeled {label}, the other samples say {suggested}"
