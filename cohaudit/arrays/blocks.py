"""Blocks of rows that fit a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

NUMBERS_PER_BLOCK = 2**19
"""Numbers in a block: 2 MB in float32, so that what is computed from it stays in the cache as well."""


def blocks_of(rows: int, columns: int, numbers: int | None = None) -> Iterator[slice]:
    """Yield slices that cover all rows in order, each of at least one row and at most so many numbers.

    Args:
        rows: Number of rows.
        columns: Numbers in a row.
        numbers: Numbers in a block; `NUMBERS_PER_BLOCK` if left out.
    """
    size = max(1, (NUMBERS_PER_BLOCK if numbers is None else numbers) // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
