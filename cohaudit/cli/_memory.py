"""Refuses to begin where the shell grants too little memory to load torch."""

from __future__ import annotations

import sys

from cohaudit.errors import MissingMemoryError

_LEAST = 1_500_000_000
"""Bytes of address space that a scan of a tiny network takes. With less, torch ends the process as it loads,
or by a signal later, and no message comes of it."""


def require_address_space() -> None:
    """Raise an error if the shell limits the address space (`ulimit -v`) below what loading torch takes.

    Raises:
        MissingMemoryError: If it does.
    """
    if sys.platform == "win32":
        return
    import resource

    granted = resource.getrlimit(resource.RLIMIT_AS)[0]
    if granted not in (resource.RLIM_INFINITY, -1) and granted < _LEAST:
        found = f"the shell grants {granted / 1e9:.1f} GB, and torch takes {_LEAST / 1e9:.1f} GB to load"
        raise MissingMemoryError(MemoryError(found))
