"""Writes what benchmarks/results/gap.json says into docs/risk.md.

    python -m benchmarks.docs.expected          write the page's blocks anew
    python -m benchmarks.docs.expected --show   print the blocks; write nothing

A block of the page stands between `<!-- expected: NAME -->` and `<!-- end -->`; what stands around the blocks
is written by hand and holds no figure of them. A test compares the page with the results.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.docs.blocks import Page
from benchmarks.docs.other_networks import (
    FIGURES,
    cells,
    classes,
    few,
    flat,
    former,
    measures,
    same_data,
    zoo,
)
from benchmarks.docs.verdict_tables import NOTHING, markdown
from benchmarks.generalization.expected import CROSSFIT, METHODS, OURS, RESULTS, REVIEWED
from benchmarks.generalization.expected_tables import (
    percent_in,
    points_in,
    quality,
    strata,
    table_of_rows,
)
from benchmarks.shared import paths
from benchmarks.shared.results import read_rows

FITTED = "training accuracy ≥ 0.99"
"""Name of the stratum of networks that fit their labels."""
REAL = "all on real data"
"""Name of the stratum of all checkpoints on real data."""


def part(table: pd.DataFrame, method: str, labels: str = "right") -> pd.DataFrame:
    """Return the rows of a method.

    Args:
        table: All rows.
        method: Name of the method.
        labels: "right" or "given".
    """
    return table[(table["method"] == method) & (table["labels"] == labels)]


def answer(table: pd.DataFrame) -> str:
    """Return the first lines of the page."""
    own = strata(part(table, OURS))
    real, fitted, rest = (quality(own[name]) for name in (REAL, FITTED, "without Hausa news"))
    copies, reviewed = (quality(strata(part(table, name))[REAL]) for name in (CROSSFIT, REVIEWED))
    former = strata(part(table, "former formula"))
    before, before_fitted = (quality(former[name]) for name in (REAL, FITTED))
    given = quality(strata(part(table, OURS, "given"))[REAL])
    lines = (
        f"**Mean absolute error {points_in(real.error)} points**, {points_in(real.bias, sign=True)} on "
        f"average, on {real.checkpoints} checkpoints of {real.families} families of real data, each left out "
        f"when the constants were chosen. The interval, ± {100 * real.width:.1f} points on average, holds "
        f"{percent_in(real.covered)} of the true accuracies.",
        f"**Networks that fit at least 99% of their labels:** error {points_in(fitted.error)}, "
        f"{points_in(fitted.bias, sign=True)} on average; the interval holds {percent_in(fitted.covered)}.",
        "**One family is beyond it.** Half of the labels of the Hausa headlines are wrong by a rule, which "
        f"no estimate can see: without that family the error is {points_in(rest.error)}. With fifty reviewed "
        f"labels it is {points_in(reviewed.error)} on all, and the interval holds "
        f"{percent_in(reviewed.covered)}.",
        f"**With a cross-fit** the error is {points_in(copies.error)} and the interval ± "
        f"{100 * copies.width:.1f}. **Against labels as given** the error is {points_in(given.error)}, where "
        "that accuracy is known.",
        "The formula before this one, made on the networks of the zoo below, had an error of "
        f"{points_in(before.error)} here ({points_in(before_fitted.error)} for fitted networks), and its "
        f"interval held {percent_in(before.covered)}.",
    )
    return "\n".join(f"- {line}" for line in lines)


def kinds(table: pd.DataFrame) -> str:
    """Return the figures by kind of checkpoint."""
    rows = []
    for name, own in strata(part(table, OURS)).items():
        found = quality(own)
        rows.append([name, f"{found.checkpoints}", f"{found.families}", *cells(found)])
    return markdown(["checkpoints", "number", "families", *FIGURES], rows)


def methods(table: pd.DataFrame) -> str:
    """Return the figures of all estimates, against right labels."""
    rows = []
    for method in METHODS:
        if method.given:
            continue
        own = strata(part(table, method.name))
        real, fitted = quality(own[REAL]), quality(own[FITTED])
        tau = f"{real.tau:.2f}" if real.tau == real.tau else NOTHING
        constants = f"{len(method.inputs) + 1}" if method.fitted else "0"
        name = f"{method.name} ({real.checkpoints})" if real.checkpoints < 107 else method.name
        rows.append([name, constants, *cells(real), points_in(fitted.error), percent_in(fitted.covered), tau])
    titles = ["estimate", "constants", *FIGURES, "error, fitted", "holds, fitted", "τ of the gaps"]
    return markdown(titles, rows)


def as_given(table: pd.DataFrame) -> str:
    """Return the figures against labels as given."""
    rows = []
    for method in METHODS:
        if method.given:
            for stratum in (REAL, FITTED):
                found = quality(strata(part(table, method.name, "given"))[stratum])
                rows.append(
                    [method.name, stratum, f"{found.checkpoints}", f"{found.families}", *cells(found)]
                )
    return markdown(["estimate", "checkpoints", "number", "families", *FIGURES], rows, texts=2)


def families(table: pd.DataFrame) -> str:
    """Return the errors of each family, left out."""
    own = part(table, OURS)
    rows = []
    for name, one in own.groupby("family"):
        off = 100 * one["off"]
        sets = (
            ", ".join(sorted(one["dataset"].unique()))
            if name != "clouds"
            else f"{one['dataset'].nunique()} synthetic sets"
        )
        figures = (f"{value:+.1f}".replace("-", "−") for value in (off.mean(), off.min(), off.max()))
        rows.append(
            [str(name), sets, f"{len(one)}", f"{off.abs().mean():.1f}", *figures, f"{one['held'].mean():.0%}"]
        )
    titles = ["family", "data sets", "checkpoints", "mean error", "bias", "lowest", "highest", "holds"]
    return markdown(titles, rows, texts=2)


PAGE: Page[pd.DataFrame] = Page(
    paths.ROOT / "docs/risk.md",
    "expected",
    {
        "answer": answer,
        "kinds": kinds,
        "methods": methods,
        "as given": as_given,
        "families": families,
        "zoo": zoo,
        "flatness": flat,
        "few": few,
        "same data": same_data,
        "measures": measures,
        "classes": classes,
        "former": former,
    },
)
"""The page and its blocks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    return PAGE.main(__doc__, lambda: table_of_rows(read_rows(RESULTS)), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
