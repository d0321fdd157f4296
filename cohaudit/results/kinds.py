"""The kinds of samples, by name."""

from __future__ import annotations

SAMPLE_KINDS = ("typical", "mislabeled", "ambiguous", "rare", "duplicate")


REVIEWED = "reviewed"
"""What a suspect is that a person found to be right (`suppressions`)."""


TYPICAL, MISLABELED, AMBIGUOUS, RARE, DUPLICATE = range(len(SAMPLE_KINDS))

MEMORIZED = 0.5
"""Memorization from which a sample counts as memorized: its label is then more likely given because the
network saw the sample than because other samples support it."""
