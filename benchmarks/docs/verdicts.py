"""Writes what benchmarks/results/verdicts.json says into docs/detection.md.

    python -m benchmarks.docs.verdicts          write the page's blocks anew
    python -m benchmarks.docs.verdicts --show   print the blocks; write nothing

A block of the page stands between `<!-- verdicts: NAME -->` and `<!-- end -->`; what stands around the blocks
is written by hand and holds no figure of them. A test compares the page with the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from benchmarks.docs import verdict_sentences, verdict_tables
from benchmarks.docs.verdict_cells import Verdicts
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import read_rows

PAGE = paths.ROOT / "docs/detection.md"
RESULTS = paths.RESULTS / "verdicts.json"
BLOCK = re.compile(r"(<!-- verdicts: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BLOCKS: Mapping[str, Callable[[Verdicts], str]] = {
    "answer": verdict_sentences.answer,
    "limits": verdict_sentences.limits,
    "data": verdict_tables.data,
    "methods": verdict_tables.methods,
    "real noise": verdict_tables.real_noise,
    "honesty": verdict_tables.honesty,
    "reviews": verdict_tables.reviews,
    "figures": verdict_tables.figures,
}
"""Blocks by name."""


def rewrite(page: str, verdicts: Verdicts) -> str:
    """Return a page whose blocks say what the verdicts say.

    Args:
        page: Markdown.
        verdicts: Results.

    Raises:
        KeyError: If the page has a block of another name.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](verdicts)}\n{found[4]}", page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    args = make_parser(__doc__, show=True).parse_args(arguments)
    verdicts = Verdicts(read_rows(RESULTS))
    if args.show:
        print("\n\n".join(block(verdicts) for block in BLOCKS.values()))
    else:
        PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), verdicts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
