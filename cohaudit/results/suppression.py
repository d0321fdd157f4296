"""A reviewed sample: what a person found out about a suspect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suppression:
    """What a person found out about a suspect: its label is right."""

    sample: str
    """Hash of the sample's content, 'sha256:…'."""
    label: str
    """The label found to be right."""
    reviewer: str
    """Who found it."""
    reason: str
    """Why, in the reviewer's words."""
    id: str = ""
    """The sample's id, for people."""
    expires: str = ""
    """The day from which it holds no more, as in 2027-06-30; empty: it holds for good."""

    @property
    def name(self) -> str:
        """What to call it in a sentence, at no more than readable length."""
        return f"{self.id or self.sample[:19]!r:.60}"
