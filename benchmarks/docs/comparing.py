"""Writes what the benchmarks of `cohaudit diff` say into docs/comparing.md.

python -m benchmarks.docs.comparing          write the page's blocks anew
python -m benchmarks.docs.comparing --show   print the blocks; write nothing
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.commands import comparing, regressions, relabeled
from benchmarks.commands.regressions import CHANCE, NARROW, NOISIER, OTHER, SAME
from benchmarks.docs.blocks import Page
from benchmarks.docs.verdict_tables import NOTHING, markdown
from benchmarks.shared import paths
from benchmarks.shared.results import Row, read_json, read_rows
from cohaudit.review.diff.verdict_changes import SCORE_BOUND

NAMES = {"digits": "digits", "fashion": "Fashion-MNIST", "adult": "Adult", "trec": "TREC"}
"""Data set → its name on the page."""
KINDS = {
    "uniform": "drawn at random",
    "confused": "of a class that is confused with it",
    "hard": "of hard samples",
    "of one class": "of one class, or by class",
    "by people": "by people",
    "distant": "by distant supervision",
    "synthetic data": "on synthetic data, all kinds",
}
"""Kind of wrong labels → its name on the page."""


@dataclass(frozen=True)
class Measured:
    """Results of the benchmarks.

    Attributes:
        pairs: Pairs of audits, of `benchmarks.commands.regressions`.
        runs: Checkpoints with their expected scores, of `benchmarks.generalization.expected`.
        corrected: Checkpoints with some labels corrected, of `benchmarks.commands.relabeled`.
        fixtures: Tables of `benchmarks.commands.comparing`.
    """

    pairs: Sequence[Row]
    runs: Sequence[Row]
    corrected: Sequence[Row]
    fixtures: dict[str, list[Row]]


def load() -> Measured:
    """Return the saved results."""
    return Measured(
        read_rows(regressions.RESULTS),
        read_rows(regressions.GAP),
        read_rows(relabeled.RESULTS),
        read_json(comparing.RESULTS),
    )


def _called(rows: Sequence[Row]) -> str:
    if not rows:
        return NOTHING
    return f"{np.mean([row['regressions'] > 0 for row in rows]):.1%} of {len(rows)}"


def pairs(found: Measured) -> str:
    """Return the table of pairs called a regression."""
    lines = []
    for data in (*NAMES, "all"):
        own = [row for row in found.pairs if data in {row["data"], "all"}]
        kinds = [[row for row in own if row["kind"] == kind] for kind in (SAME, OTHER, NOISIER)]
        lost = [row for row in own if row["kind"] == NARROW and regressions.is_real_loss(row)]
        name = "**all**" if data == "all" else f"{NAMES[data]}, {own[0]['noise'].split()[0]}%"
        lines.append([name, *map(_called, (*kinds, lost))])
    header = (
        "data, wrong labels",
        "another seed",
        "as many other wrong labels",
        "3% more wrong labels",
        "narrow network, 3 points lost",
    )
    return markdown(header, lines)


def others(found: Measured) -> str:
    """Return whether networks on other wrong labels that are called worse are, in a sentence."""
    called = [row for row in found.pairs if row["kind"] == OTHER and row["regressions"]]
    lost = -100 * np.mean([row["head_test"] - row["base_test"] for row in called])
    return (
        f"The {len(called)} pairs with as many other wrong labels that are called a regression lost "
        f"{lost:.1f} points of accuracy on new data on average: which labels are wrong matters there."
    )


def bounds(found: Measured) -> str:
    """Return how far the score moves by the seed alone, in sentences."""
    left_out = {}
    for data in NAMES:
        bound = regressions.bound([row for row in found.pairs if row["data"] != data])
        own = [row["score_rise"] for row in found.pairs if row["data"] == data and row["kind"] == SAME]
        left_out[data] = (bound, float(np.mean(np.array(own) <= -bound)))
    worst = max(left_out, key=lambda data: left_out[data][1])
    every = float(np.mean([share for _, share in left_out.values()]))
    most = regressions.bound(found.pairs)
    return (
        f"Of two runs of one recipe, the expected score falls by less than {100 * most:.1f} points in "
        f"{1 - CHANCE:.0%} of the pairs on the data set where it moves most; the bound is "
        f"{100 * SCORE_BOUND:.0f} points. A bound that is chosen on the three other data sets is exceeded by "
        f"{every:.1%} of the pairs of the fourth on average, and by {left_out[worst][1]:.1%} at most "
        f"({NAMES[worst]}, with a bound of {100 * left_out[worst][0]:.1f} points)."
    )


def overtrained(found: Measured) -> str:
    """Return how often training for too long is noticed, in sentences."""
    lost = regressions.overtrained(found.runs)
    families = {row["family"] for row in lost}
    called = [row["score_rise"] <= -SCORE_BOUND for row in lost]
    return (
        f"Of {len(lost)} runs on real data of {len(families)} families that lost at least "
        f"{100 * regressions.REAL_LOSS:.0f} points of accuracy on new data when they were trained on, from "
        f"the best checkpoint until they fitted their labels, {np.mean(called):.0%} are called a regression, "
        "by expected scores whose constants were chosen without the family."
    )


def corrected(found: Measured) -> str:
    """Return the table of corrections, by the kind of wrong labels."""
    lines = [
        [
            KINDS[kind],
            str(len(own)),
            str(len({row["family"] for row in own})),
            *(f"{relabeled.mean(own, name):.0%}" for name in ("called_better", "called_worse")),
        ]
        for kind, own in relabeled.groups(found.corrected).items()
    ]
    header = ("wrong labels", "checkpoints", "families", "called better", "called worse")
    return markdown(header, lines)


def changes(found: Measured) -> str:
    """Return the table of pairs of the fixtures' networks."""
    lines = []
    for row in found.fixtures["changes"]:
        mean, low, high = (f"{100 * one:+.1f}".replace("-", "−") for one in row["score moved"])
        counts = (row["pairs"], row["worse"], row["better"])
        suspects = (f"{row[name]:.0f}" for name in ("new", "fixed"))
        lines.append([row["data"], row["change"], f"{mean} ({low} to {high})", *suspects, *map(str, counts)])
    header = ("fixture", "change", "score, points", "new suspects", "fixed", "pairs", "worse", "better")
    return markdown(header, lines, 2)


def widths(found: Measured) -> str:
    """Return the table of the widths."""
    lines = [
        [
            f"{row['width']}, {row['hidden']}",
            str(row["units"]),
            f"{row['kept']} ({row['kept'] / row['units']:.0%})",
            f"{row['participation']:.2f}",
            *(f"{row[name]:.3f}" for name in ("accuracy", "alone", "random")),
            f"{math.nan if row['expected'] is None else row['expected']:.1%}",
        ]
        for row in found.fixtures["widths"]
    ]
    header = (
        "channels, units of the dense layer",
        "hidden units",
        "hold 90%",
        "participation",
        "training accuracy",
        "of these alone",
        "of as many at random",
        "expected on new data",
    )
    return markdown(header, lines)


PAGE: Page[Measured] = Page(
    paths.ROOT / "docs/comparing.md",
    "comparing",
    {
        "pairs": pairs,
        "others": others,
        "bounds": bounds,
        "overtrained": overtrained,
        "corrected": corrected,
        "changes": changes,
        "widths": widths,
    },
)
"""The page and its blocks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    return PAGE.main(__doc__, load, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
