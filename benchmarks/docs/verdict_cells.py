"""Rows of the verdicts benchmark as the page reads them: by cell and by family, compared on the same cells.

A cell is a checkpoint: data, noise, network, stage of training, seed. Every family of data sets counts the
same in a mean, however many cells it has; the synthetic clouds are one family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from benchmarks.shared.results import Row
from benchmarks.verdicts.fit import CLAIM_ERROR, LONG_LIST

CELL = ["dataset", "noise", "model", "stage", "seed"]
KINDS = ("planted", "real", "synthetic")
SLACK = 1e-9
"""Rounding error by which a bound may miss the true share."""


class Verdicts:
    """The rows of the benchmark.

    Args:
        rows: Rows as saved; at least one of the method "cohaudit" for each data set.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        table = pd.DataFrame(list(rows))
        # only rows of cohaudit's variants say what was left out
        known = table.dropna(subset=["left_out"])
        families = dict(zip(known["dataset"], known["left_out"], strict=True))
        table["family"] = table["dataset"].map(families)
        self.rows = table
        """All rows; of cells without wrong labels too."""
        self.scored = table.dropna(subset=["auroc"])
        """Rows of cells that have wrong labels to be ranked."""

    def of(self, method: str) -> pd.DataFrame:
        """Return a method's rows of all cells, by cell."""
        return self.rows[self.rows["method"] == method].set_index(CELL)

    def groups(self) -> dict[str, pd.DataFrame]:
        """Return the scored rows by the title of their column in the page; both stages are of real data."""
        real_data = self.scored[self.scored["kind"] != "synthetic"]
        return (
            {"real data": real_data}
            | {kind: self.scored[self.scored["kind"] == kind] for kind in KINDS}
            | {stage: real_data[real_data["stage"] == stage] for stage in ("early", "interpolated")}
        )

    def lead(self, method: str, other: str) -> float:
        """Return by how much AUROC a method leads another one, on the cells that both were measured in."""
        scored = [self.scored[self.scored["method"] == name].set_index(CELL) for name in (method, other)]
        both = scored[0].join(scored[1]["auroc"].rename("other"), how="inner")
        return by_family(both.assign(lead=both["auroc"] - both["other"]), "lead")

    def by_kind(self, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield all rows of a table, then those of each kind of label noise that has any."""
        yield "all", table
        for kind in KINDS:
            if (table["kind"] == kind).any():
                yield kind, table[table["kind"] == kind]


def by_family(table: pd.DataFrame, column: str) -> float:
    """Return the mean of a column over the families' means; NaN of an empty table."""
    return float(table.groupby("family")[column].mean().mean())


def cells_of(table: pd.DataFrame) -> int:
    """Return the number of cells that rows are about."""
    return len(table.reset_index()[CELL].drop_duplicates())


def holds(table: pd.DataFrame, start: str = "share") -> pd.Series:
    """Return for each row whether the interval of the share of wrong labels contains the true share.

    Args:
        table: Rows of one method.
        start: "reviewed" for the interval after a review.
    """
    lower = table[f"{start}_lower"] <= table["share_true"] + SLACK
    return lower & (table[f"{start}_upper"] >= table["share_true"] - SLACK)


def long_lists(table: pd.DataFrame, start: str = "") -> pd.DataFrame:
    """Return the rows whose list is long enough for its precision to be known.

    Args:
        table: Rows of one method.
        start: "reviewed_" for the lists after a review.

    Returns:
        The rows, with the `error` of the claimed precision, and whether that is `right`.
    """
    long = table[table[f"{start}suspects"] >= LONG_LIST]
    error = (long[f"{start}claimed"] - long[f"{start}precision"]).astype(float).abs()
    return long.assign(error=error, right=error <= CLAIM_ERROR)
