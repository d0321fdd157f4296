"""A reviewed sample: a suspect whose label a person has confirmed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suppression:
    """A suspect whose label a person has confirmed."""

    sample: str
    """Hash of the sample's content, 'sha256:' with 64 hexadecimal digits."""
    label: str
    """The confirmed label."""
    reviewer: str
    """Who confirmed it."""
    reason: str
    """Why the label is right, in the reviewer's words."""
    id: str = ""
    """Id of the sample, for people."""
    expires: str = ""
    """First day on which the suppression no longer applies, such as 2027-06-30; empty: it never expires."""

    @property
    def name(self) -> str:
        """The sample's name for a sentence, cut to a readable length."""
        # 19 characters: "sha256:" and 12 digits
        return f"{self.id or self.sample[:19]!r:.60}"
