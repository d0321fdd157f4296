"""Arrays of zeros that lie in a temporary file if they are large."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import EngineError

MEMORY = 512 * 2**20
"""Bytes of one array that stay in memory where no setting says otherwise."""


def allocate(
    rows: int, columns: int, what: str, remedy: str = "", memory: int | None = None
) -> NDArray[np.float32]:
    """Return an array of zeros, [rows, columns], in a file if it takes more than `memory` bytes.

    The file has no name where the system allows that: it disappears with the array, however the run ends.

    Args:
        rows: Number of rows.
        columns: Numbers in a row.
        what: What the array holds, for a person.
        remedy: What else makes room on the disk, for a person.
        memory: Bytes that stay in memory; `MEMORY` if left out.

    Raises:
        EngineError: If the disk has no room for it.
    """
    size = rows * columns * np.dtype(np.float32).itemsize
    if size <= (MEMORY if memory is None else memory):
        return np.zeros((rows, columns), dtype=np.float32)
    # the mapping keeps the file alive after it is closed
    with tempfile.TemporaryFile(prefix="cohaudit-") as file:
        try:
            # a sparse file on a disk that fills up later would end the process with SIGBUS, without a message
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise EngineError(
                f"temporary folder {tempfile.gettempdir()}",
                f"no room for {what}, {size / 1e6:,.0f} MB: {error.strerror}",
                f"set TMPDIR to a folder with more room{remedy}",
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(rows, columns))


def release(array: Any) -> None:
    """Give the memory back that an array in a file takes in this process; what it holds stays.

    Pages that were read or written count as memory of the process until the system needs it for others: a
    pass over a large file would seem to take all of it.

    Args:
        array: Any array; one that lies in memory is left alone.
    """
    pages = getattr(array, "_mmap", None)
    # a mapping of a file gives up its pages at once, and reads them again where they are needed
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
