"""The group's main benchmark; apart from it, as processes that are spawned cannot import a `__main__`."""

from benchmarks.verdicts.comparison import main

if __name__ == "__main__":
    raise SystemExit(main())
