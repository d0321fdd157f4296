"""The files of an unfinished pass: their names, how they are opened and removed, and how passes differ."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.config import KEYS
from cohaudit.config.file import option_name

_HASHES = {
    "checkpoint": "another checkpoint",
    "data": "other data",
    "samples": "other samples",
    "code": "other code of the model or the data",
}
"""Parts of a key that are hashes, which mean nothing to a reader → what a difference in one means."""
LONGEST_DIFFERENCE = 80
"""Characters shown of one difference."""
ABOUT = "about.json"
"""File with the key of the pass."""
SUMS = "sums.npz"
"""File with the sums; without it, the other files do not count."""
_OURS = re.compile(r"(about\.json|sums\.npz|rows-\d+-\d+\.npz)(\.part)?")


def rows_file(start: int, stop: int) -> str:
    """Return the name of the file with the rows of the samples from `start` to before `stop`."""
    return f"rows-{start}-{stop}.npz"


@contextmanager
def opened_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open a file of arrays; each array is read when it is accessed.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged, or would have to be unpickled.
    """
    # the file is opened here, not by numpy, which leaves it open when it is not an archive
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


def remove_pass(folder: Path, but: Container[str] = ()) -> None:
    """Remove the files of a pass as far as possible, and the folder if that leaves it empty.

    Files with other names stay, and so does everything behind a symbolic link: they are not ours.

    Args:
        folder: Folder of the pass; it need not exist.
        but: Names of files to leave.
    """
    if folder.is_symlink():
        return
    with suppress(OSError):
        ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name) and path.name not in but]
        # the file that makes the others count goes first: half a removal must not look like a whole pass
        for path in sorted(ours, key=lambda path: path.name != SUMS):
            with suppress(OSError):
                path.unlink()
        folder.rmdir()


def describe_difference(name: str, stored: str | None) -> str:
    """Return in words how a stored pass differs from the one that is wanted.

    Args:
        name: Part of the key that differs.
        stored: Its value in the stored pass; None if it has none.
    """
    called = option_name(name) if name in KEYS else name
    # cut: the stored value comes from a file, and can be of any length
    return _HASHES.get(name, f"{called} {stored}"[:LONGEST_DIFFERENCE])
