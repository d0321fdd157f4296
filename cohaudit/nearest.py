"""What a person who wrote an unknown name probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

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


def missing(path: Path, usable: Callable[[Path], bool], what: str) -> tuple[str, str]:
    """Return what to say of a path that leads nowhere, and what to do about it.

    Args:
        path: The path.
        usable: Tells whether an entry of the folder could have been meant, by its name.
        what: What such an entry is, for when there is none.
    """
    if path.is_symlink():
        return f"a link to {path.readlink()}, which does not exist", "bring that file there, or name another"
    names: list[str] = []
    with suppress(OSError):  # no such folder, or none that may be listed
        entries = [entry for entry in path.parent.iterdir() if not entry.name.startswith(".")]
        names = sorted(entry.name for entry in entries if usable(entry))
    if names:
        return "no such file or folder", did_you_mean(path.name, names)
    found = f"has no {what}" if path.parent.is_dir() else "is no folder"
    return "no such file or folder", f"check the path: {path.parent} {found}"
