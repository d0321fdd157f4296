"""The suspects of an audit with their location, for the formats that list them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cohaudit.results import Audit
from cohaudit.results.json_encode import escape_stray_bytes


@dataclass(frozen=True)
class SuspectLine:
    """A sample that looks mislabeled, as the formats list it."""

    id: str
    label: str
    suggested: str
    suspicion: float
    content: str
    """Hash of its input."""
    place: str
    """Path of its file; empty when it is in memory."""
    line: int
    """Line in the file, from 1; 0 when unknown."""


def list_suspects(audit: Audit) -> Iterator[SuspectLine]:
    """Yield the suspects, the most suspicious first."""
    table = audit.suspects
    columns = (table[name].tolist() for name in ("id", "label", "suggested", "suspicion"))
    evidence = {one.id: one for one in audit.evidence}
    for name, label, suggested, suspicion in zip(*columns, strict=True):
        if one := evidence.get(name):
            yield SuspectLine(
                id=escape_stray_bytes(name),
                label=escape_stray_bytes(label),
                suggested=escape_stray_bytes(suggested),
                suspicion=suspicion,
                content=one.content,
                place=one.place,
                line=one.line,
            )


def format_correction(label: str, suggested: str) -> str:
    """Say how a suspect is labeled, and what similar samples suggest.

    Args:
        label: Given label, already escaped for the format.
        suggested: Suggested label, likewise escaped; equal to the given one when no other label fits better.
    """
    if suggested == label:
        return f"labeled {label}, which similar samples do not support"
    return f"labeled {label}; similar samples suggest {suggested}"
