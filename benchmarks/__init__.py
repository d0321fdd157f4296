"""Measures what cohaudit claims: `python -m benchmarks` lists what there is, README.md tells more."""
