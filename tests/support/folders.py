"""What lies in a folder, and who may write to it."""

from __future__ import annotations

import os
from pathlib import Path

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def left_behind(folder: Path) -> dict[str, object]:
    """Return everything below a folder: the content of files, the target of links."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts:  # Python's own, from the import of net.py
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = path.readlink()
        else:
            found[name] = (
                path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else path.stat().st_mode
            )
    return found


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())
