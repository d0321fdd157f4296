"""The kinds of samples, by name and by number."""

from __future__ import annotations

from typing import Literal

SAMPLE_KINDS = ("typical", "mislabeled", "ambiguous", "rare", "duplicate")
"""What a sample can be, in the order of the numbers below."""

TYPICAL, MISLABELED, AMBIGUOUS, RARE, DUPLICATE = range(len(SAMPLE_KINDS))

MEMORIZED = 0.5
"""Memorization from which a sample counts as memorized: its label is then more likely given because the
network saw the sample than because other samples support it."""

REVIEWED = "reviewed"
"""Kind of a sample that would be a suspect, had a person not confirmed its label (a suppression)."""

# a Literal takes no computed values, so that the kinds stand here again
KindName = Literal["", "typical", "mislabeled", "ambiguous", "rare", "duplicate", "reviewed"]
"""What the table of samples can say of a sample; empty when no sample was judged."""
