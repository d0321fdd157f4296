"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
PACKAGE = ROOT / "benchmarks"
"""The package of the benchmarks."""
FIXTURES = ROOT / "fixtures"
"""Trained networks with their data: those of the documentation and the tests."""
RESULTS = PACKAGE / "results"
"""Results, one file per benchmark; the documentation shows them."""
CACHE = PACKAGE / ".cache"
"""Trained networks and their measurements, saved for the next run; git ignores it."""
