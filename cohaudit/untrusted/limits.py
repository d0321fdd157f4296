"""How much memory and time reading a file of unknown origin may take.

Every limit follows from two settings, so that a person who means a file can raise all of them at once. Limits
grow with the size that a file takes on disk: a large honest file needs no option, a small file that unpacks
to gigabytes does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MEGABYTE = 1_000_000
"""Bytes of a megabyte, the unit of the setting."""
_DEFAULT_MEMORY = 512 * MEGABYTE
"""Default of the setting `read_memory`, in bytes: with the packages themselves, less than a gigabyte."""
_DEFAULT_SECONDS = 5.0
"""Default of the setting `read_seconds`: with the imports, less than ten seconds on a slow machine."""
RAISE_MEMORY = "if you know its source, raise --read-memory (megabytes)"
"""What to do about a file that needs more memory than it may."""
RAISE_SECONDS = "if you know its source, raise --read-seconds"
"""What to do about a file that takes longer to read than it may."""
_DOCUMENT_SHARE = 32
"""Memory for each byte of a header or a document in JSON: parsed, `[],` takes 20 times its length."""
_BYTES_PER_ENTRY = 5_000
"""Memory for each entry of a file: a tensor with its name, or a column of a table."""
_UNPACKED_PER_BYTE = 16
"""Bytes that each byte on disk may unpack to without an option: images and tables reach 10, zeros 1,000."""
_BYTES_PER_SECOND = 50 * MEGABYTE
"""Bytes on disk that earn another second: a slow disk reads 100 MB in one."""


@dataclass(frozen=True)
class Limits:
    """Limits of one file's reading."""

    memory: int = _DEFAULT_MEMORY
    """Bytes that it may take beside what its size on disk earns."""
    seconds: float = _DEFAULT_SECONDS
    """Seconds that it may take beside what its size on disk earns."""

    @property
    def document(self) -> int:
        """Most bytes of a header, an index or a document that is parsed as a whole."""
        return self.memory // _DOCUMENT_SHARE

    @property
    def entries(self) -> int:
        """Most tensors, arrays or columns in one file."""
        return self.memory // _BYTES_PER_ENTRY

    def unpacked(self, on_disk: int) -> int:
        """Return how many bytes a file of `on_disk` bytes may unpack to."""
        return self.memory + _UNPACKED_PER_BYTE * on_disk

    def time(self, on_disk: int) -> float:
        """Return how many seconds reading a file of `on_disk` bytes may take."""
        return self.seconds + on_disk / _BYTES_PER_SECOND


_current: ContextVar[Limits] = ContextVar("_current", default=Limits())  # noqa: B039 (frozen)
"""Limits of the scan that runs; a context variable, so that parallel scans do not mix."""


def current_limits() -> Limits:
    """Return the limits that apply to files that are read now."""
    return _current.get()


@contextmanager
def limiting(memory: int, seconds: float) -> Iterator[None]:
    """Set the limits while the block runs.

    Args:
        memory: The setting `read_memory`, in megabytes.
        seconds: The setting `read_seconds`.
    """
    token = _current.set(Limits(memory * MEGABYTE, seconds))
    try:
        yield
    finally:
        _current.reset(token)
