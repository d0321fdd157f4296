"""The measures of the zoo of `benchmarks.generalization`, on its fitted networks alone: no training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from benchmarks.generalization.risk import measures_of
from benchmarks.shared.results import Row

STRATA = ((0.95, True), (0.99, True), (0.95, False), (0.99, False))
"""Least training accuracy, and whether the two networks have the same wrong labels as well."""


def zoo_rows(rows: Sequence[Row]) -> list[Row]:
    """Return each measure's τ over the pairs of fitted networks of one data set and size, by stratum.

    Args:
        rows: Networks of the zoo, as `benchmarks.generalization.risk` saves them.
    """
    found = []
    for least, same_labels in STRATA:
        chosen = _pairs(rows, least, same_labels=same_labels)
        accuracy = np.array([b["test_accuracy"] - a["test_accuracy"] for a, b in chosen])
        halves = [
            np.array([_half(b, part) - _half(a, part) for a, b in chosen])
            for part in ("gap on one half of the test set", "gap on the other half")
        ]
        for name in measures_of(rows):
            # these are larger for a larger expected gap
            rise = np.array([a.get(name, np.nan) - b.get(name, np.nan) for a, b in chosen])
            known = np.isfinite(rise)
            found.append(
                {
                    "measure": name,
                    "least_train_accuracy": least,
                    "same_labels": same_labels,
                    "pairs": int(known.sum()),
                    "tau": float(np.mean(np.sign(rise * accuracy)[known])),
                    "half_against_half": float(np.mean(np.sign(halves[0] * halves[1]))),
                    "half_against_whole": float(np.mean([np.sign(h * accuracy) for h in halves])),
                }
            )
    return found


def _half(row: Row, part: str) -> float:
    return float(row["train_accuracy"] - row[part])


def _pairs(rows: Sequence[Row], least: float, *, same_labels: bool) -> list[tuple[Row, Row]]:
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row["auditable"] and row["train_accuracy"] >= least:
            factors = row["factors"]
            noise = factors["noise"] if same_labels else None
            groups.setdefault((row["family"].split()[0], factors["samples"], noise), []).append(row)
    return [pair for group in groups.values() for pair in combinations(group, 2)]
