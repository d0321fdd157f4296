"""Tells a pointer of git-lfs from the file that it stands for: before `git lfs pull`, a clone has only these.

The format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.
"""

from __future__ import annotations

from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.untrusted import open_regular

FOUND = "is a git-lfs pointer, not the file itself"
"""What is found instead of a file."""
REMEDY = "run `git lfs pull` to download it"
"""What to do about it."""
_BEGINS = b"version https://git-lfs.github.com/"
"""First bytes of every pointer."""


def is_pointer(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a pointer."""
    return head.startswith(_BEGINS)


def is_pointer_file(path: Path) -> bool:
    """Tell whether a file is a pointer; a file that cannot be read is none."""
    try:
        with open_regular(path, DataError) as stream:
            return is_pointer(stream.read(len(_BEGINS)))
    except (OSError, DataError):  # whoever reads it next says why
        return False
