"""The group's main benchmark."""

from benchmarks.same_data.comparison import main

if __name__ == "__main__":
    raise SystemExit(main())
