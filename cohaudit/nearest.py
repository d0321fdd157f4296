"""What a person who wrote an unknown name probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 8
"""Names listed at most when none is near."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy, in the imperative, for `name`, which is not among the `known` ones."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(names) > MOST:
        return f"use one of {', '.join(names[:MOST])} and {len(names) - MOST} more"
    return f"use one of {', '.join(names)}"
