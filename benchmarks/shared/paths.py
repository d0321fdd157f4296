"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
FIXTURES = ROOT / "fixtures"
"""Trained networks with their data."""
RESULTS = ROOT / "benchmarks" / "results"
"""What was measured, one file a benchmark; the documentation shows it."""
CACHE = ROOT / "benchmarks" / ".cache"
"""Trained networks and what was measured of them, kept for the next run; git ignores it."""
