"""How much the page and the terminal show of the same list."""

from __future__ import annotations

MAX_CAUSES = 3
"""Causes of the gap on a first screen at most; the table further down the page has all."""
