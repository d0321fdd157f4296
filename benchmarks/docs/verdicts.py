"""Writes what benchmarks/results/verdicts.json says into docs/detection.md.

    python -m benchmarks.docs.verdicts          write the page's blocks anew
    python -m benchmarks.docs.verdicts --show   print the blocks; write nothing

A block of the page stands between `<!-- verdicts: NAME -->` and `<!-- end -->`; what stands around the blocks
is written by hand and holds no figure of them. A test compares the page with the results.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.docs import verdict_sentences, verdict_tables
from benchmarks.docs.blocks import Page
from benchmarks.docs.verdict_cells import Verdicts
from benchmarks.shared import paths
from benchmarks.shared.results import read_rows

RESULTS = paths.RESULTS / "verdicts.json"
PAGE: Page[Verdicts] = Page(
    paths.ROOT / "docs/detection.md",
    "verdicts",
    {
        "answer": verdict_sentences.answer,
        "limits": verdict_sentences.limits,
        "data": verdict_tables.data,
        "methods": verdict_tables.methods,
        "real noise": verdict_tables.real_noise,
        "honesty": verdict_tables.honesty,
        "reviews": verdict_tables.reviews,
        "figures": verdict_tables.figures,
    },
)
"""The page and its blocks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    return PAGE.main(__doc__, lambda: Verdicts(read_rows(RESULTS)), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
