"""Shards of a scan: which blocks of a pass each of several processes measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One of several shares of a pass: the blocks that one process measures.

    Attributes:
        number: From 1 to `of`.
        of: Number of shards.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def blocks(self, count: int) -> range:
        """Return the blocks of the shard, out of `count`."""
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)
