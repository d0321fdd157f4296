"""Lists the benchmarks."""

from __future__ import annotations

from benchmarks.shared.catalog import commands

if __name__ == "__main__":
    for name, summary in commands().items():
        print(f"python -m {name}\n    {summary}")
