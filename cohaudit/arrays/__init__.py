"""Arrays with a row per sample that may be too large for memory: kept in a file, worked on in blocks."""

from cohaudit.arrays.blocks import blocks_of
from cohaudit.arrays.temporary import allocate, release

__all__ = ["allocate", "blocks_of", "release"]
