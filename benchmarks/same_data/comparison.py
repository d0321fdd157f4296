"""Which of two fitted networks of the same data is better: every measure against accuracies on test data.

    python -m benchmarks.same_data          score what was measured (a minute), and write the page's tables
    python -m benchmarks.same_data --show   print the saved results

What is scored comes from `benchmarks.same_data.evidence` and `benchmarks.same_data.retrained`.

Every network is trained on the same 600 samples as the others of its cell, by another recipe. What is fitted
is fitted on the other families of data sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.generalization.expected_flatness import FLAT
from benchmarks.same_data.again import TRAINED_AGAIN, measures_again, rows_again
from benchmarks.same_data.cells import Cell, cells
from benchmarks.same_data.measures import Shared, measures
from benchmarks.same_data.ranking import (
    Array,
    Network,
    Pair,
    ceiling,
    combined,
    differences,
    fit_slope,
    interval,
    left_out,
    pairs,
    tau,
)
from benchmarks.same_data.recipes import recipes
from benchmarks.same_data.tables import report, rewrite
from benchmarks.same_data.zoo_strata import zoo_rows
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_json, read_rows, row_lines
from cohaudit.analysis.expected_score import stay_odds
from cohaudit.review.diff.ranking import FITTED, SLOPE, TOLD

RESULT = paths.RESULTS / "same_data.json"
"""File of the results."""
PAGE = paths.ROOT / "docs/same_data.md"
"""Page whose tables are the results."""
FITTED_MORE = 0.99
"""A second bound of the training accuracy."""
CHOSEN = ("flatness", "flatness and noise in the inputs")
"""The measure that a scan takes, and what more it could take: both as log-odds that an answer stays. Which
disturbances count was chosen on the first five networks of every cell, before the others were trained; the
log-odds, which change no order of flatness, on all of them."""
COMBINED = (
    ("flatness",),
    ("flatness", "noise 0.3, itself"),
    ("flatness", "leave-one-out, first hidden layer"),
    ("flatness", "noise 0.3, itself", "half 0, itself", "leave-one-out, first hidden layer"),
    (
        "flatness",
        "noise 0.3, itself",
        "half 0, itself",
        "mix half, linear",
        "mix other, itself",
        "leave-one-out, first hidden layer",
        "expected accuracy",
    ),
)
"""Measures that are combined by logistic regression."""
FIRST = 5
"""Networks of every cell that the choice was made on."""


def networks(cell: Cell) -> Iterator[tuple[Row, Network]]:
    """Yield the row of each measured network of a cell, and the network."""
    common = cell.folder / "cell.npz"
    if not common.exists():
        return
    with np.load(common) as file:
        given = {name: file[name] for name in file.files}
    shared = Shared(given["labels"], given["outside"].astype(np.float64), given["stranger"])
    expected = _expected(cell)
    for place, recipe in enumerate(recipes(cell)):
        path = cell.folder / f"{place}.json"
        flat = cell.folder / f"{place}.flatness.json"
        if not path.exists() or not flat.exists():
            continue
        saved = read_json(path)
        with np.load(cell.folder / f"{place}.npz") as file:
            arrays = {name: file[name] for name in file.files}
        right = arrays["test predicted"] == given["test_labels"]
        found = measures(saved["figures"], arrays, shared) | read_json(flat)
        found |= expected.get(place, {})
        found |= measures_again(cell.folder, place, arrays, shared)
        answered = len(given["labels"])
        found["flatness"] = stay_odds(found["flatness"], answered)
        found["flatness and noise in the inputs"] = found["flatness"] + stay_odds(
            found["noise 0.3, itself"], answered
        )
        accuracy = float(right.mean())
        row: Row = {
            "data": cell.data,
            "family": cell.family,
            "kind": cell.kind,
            "noise": cell.noise,
            "network": place,
            "recipe": saved["recipe"],
            "train_accuracy": found["training accuracy"],
            "test_accuracy": accuracy,
            "test_error": float(np.sqrt(accuracy * (1 - accuracy) / len(right))),
            "measures": found,
        }
        noisy = bool((given["labels"] != given["truth"]).any())
        seedless = str(replace(recipe, seed=0))
        yield row, Network(str(cell), cell.family, noisy, seedless, right, row["train_accuracy"], found)


def _expected(cell: Cell) -> dict[int, dict[str, float]]:
    """Return the expected accuracies of a cell's networks, by constants that its family had no part in."""
    names = {"support": "expected accuracy", "support and flatness": "expected accuracy with flatness"}
    found: dict[int, dict[str, float]] = {}
    for row in read_rows(FLAT):
        if (row["networks"], row["dataset"], row["noise"]) == ("same data", cell.data, cell.noise):
            place = int(row["model"].rsplit(" ", 1)[1])
            found.setdefault(place, {})[names[row["method"]]] = row["expected"]
    return found


def score(measure: str, chosen: Sequence[Pair]) -> Row:
    """Return a measure's τ over some pairs, in all and by stratum."""
    rises = differences(chosen, measure)
    low, high = interval(rises, chosen)
    noisy = np.array([pair.first.noisy for pair in chosen])
    clear = np.array([pair.clear for pair in chosen])
    families = np.array([pair.first.family for pair in chosen])
    return {
        "measure": measure,
        "pairs": int(np.isfinite(rises).sum()),
        "tau": tau(rises, chosen),
        "low": low,
        "high": high,
        "clean": _part(rises, chosen, ~noisy),
        "noisy": _part(rises, chosen, noisy),
        "clear": _part(rises, chosen, clear),
        "families": {str(name): _part(rises, chosen, families == name) for name in sorted(set(families))},
    }


def _part(scores: Array, chosen: Sequence[Pair], some: np.ndarray) -> float | None:
    part = tau(scores[some], [pair for pair, mine in zip(chosen, some, strict=True) if mine])
    return None if np.isnan(part) else part


def calibration(measure: str, chosen: Sequence[Pair]) -> Row:
    """Return how the left-out probabilities of a measure come true, and where nothing is said."""
    rises = differences(chosen, measure)
    probability = left_out(rises, chosen)
    true = np.array([pair.difference for pair in chosen])
    sure = np.maximum(probability, 1 - probability)
    right = np.where(true == 0, 0.5, (true > 0) == (probability > 0.5))
    told = sure >= TOLD
    seeds = np.array([pair.first.recipe == pair.second.recipe for pair in chosen])
    clear = np.array([pair.clear for pair in chosen])
    bins = []
    for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 1.01)):
        some = (sure >= low) & (sure < high)
        if some.any():
            bins.append(
                {
                    "pairs": int(some.sum()),
                    "said": float(sure[some].mean()),
                    "true": float(right[some].mean()),
                }
            )
    return {
        "measure": measure,
        "pairs": len(chosen),
        "slope": fit_slope(rises, chosen),
        "slopes_left_out": [
            fit_slope(rises[np.array(keep)], [p for p, k in zip(chosen, keep, strict=True) if k])
            for keep in _without_each_family(chosen)
        ],
        "tau": tau(probability - 0.5, chosen),
        "brier": float(np.mean((sure - right) ** 2)),
        "told": float(told.mean()),
        "told_right": float(right[told].mean()) if told.any() else None,
        "told_right_where_clear": float(right[told & clear].mean()) if (told & clear).any() else None,
        "seed_pairs": int(seeds.sum()),
        "seed_pairs_told": float(told[seeds].mean()) if seeds.any() else None,
        "bins": bins,
    }


def _columns(names: Sequence[str], chosen: Sequence[Pair]) -> Array:
    return np.stack([differences(chosen, name) for name in names], 1)


def _without_each_family(chosen: Sequence[Pair]) -> list[list[bool]]:
    families = sorted({pair.first.family for pair in chosen})
    return [[pair.first.family != family for pair in chosen] for family in families]


def results(rows: Sequence[tuple[Row, Network]]) -> dict[str, list[Row]]:
    """Return all results by their kind."""
    found = [network for _, network in rows]
    fitted = pairs(found, FITTED)
    later = [network for row, network in rows if row["network"] >= FIRST]
    chosen = {
        "fitted": fitted,
        "fitted more": pairs(found, FITTED_MORE),
        "chosen before": pairs(later, FITTED),
    }
    names = list(dict.fromkeys(name for network in found for name in network.measures))
    # those by networks trained again have a table of their own: not all were
    names = [name for name in names if not name.startswith(TRAINED_AGAIN)]
    scored = []
    about = []
    for stratum, some in chosen.items():
        about.append(
            {
                "stratum": stratum,
                "pairs": len(some),
                "cells": len({pair.first.cell for pair in some}),
                "families": len({pair.first.family for pair in some}),
                "ceiling": ceiling(some),
                "clear": float(np.mean([pair.clear for pair in some])),
            }
        )
        scored += [{"stratum": stratum} | score(name, some) for name in names]
    scored.sort(key=_order)
    return {
        "strata": about,
        "measures": scored,
        "calibration": [
            {"stratum": stratum} | calibration(name, some)
            for stratum, some in chosen.items()
            for name in CHOSEN
        ],
        "combined": [
            {"measures": list(names), "tau": tau(combined(_columns(names, fitted), fitted) - 0.5, fitted)}
            for names in COMBINED
        ],
        "again": rows_again(fitted),
        "zoo": zoo_rows(read_json(paths.RESULTS / "risk.json")),
        "networks": [row for row, _ in rows],
    }


def _order(one: Row) -> tuple[str, float]:
    """Put the best measure of a stratum first, and one without any pair last."""
    tau = float(one["tau"])
    return str(one["stratum"]), 9.0 if np.isnan(tau) else -tau


def _rounded(value: Any) -> Any:
    """Return figures with five digits, which are all that a table of measures needs; NaN becomes null."""
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _save(path: Path, found: dict[str, list[Row]]) -> None:
    texts = (f"{json.dumps(name)}: {row_lines(map(_rounded, rows))}" for name, rows in found.items())
    path.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the measures; return the exit code, 1 if no network was measured."""
    parser = make_parser(__doc__, show=True)
    parser.add_argument("--out", type=Path, default=RESULT, help="file of the results")
    args = parser.parse_args(arguments)
    console = Console()
    if not args.show:
        rows = [one for cell in cells() for one in networks(cell)]
        if not rows:
            console.print("no network was measured: run benchmarks.same_data.evidence")
            return 1
        _save(args.out, results(rows))
        if args.out == RESULT:
            PAGE.write_text(rewrite(PAGE.read_text("utf-8"), read_json(RESULT)), encoding="utf-8")
    saved = read_json(args.out)
    console.print(Markdown(report(saved)))
    for one in saved["calibration"]:
        console.print(one)
    console.print(f"the product's slope is {SLOPE}")
    return 0
