"""The tables of docs/same_data.md, from the saved results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.shared.results import Row

ZOO_ROWS = 6
"""Measures of the zoo that are listed, the best of the strictest comparison; and those named besides."""
ZOO_NAMED = ("predicted gap", "leave-one-out gap, input", "Davies-Bouldin with mixup", "spectral norms")
MEASURE_ROWS = 10
"""Measures that are listed, the best on all fitted pairs; and those named besides."""
NAMED = (
    "expected accuracy",
    "expected accuracy with flatness",
    "former expected accuracy",
    "agreement",
    "mixup × Davies-Bouldin",
    "sharpness",
    "spectral norms",
    "parameter norm",
    "path norm",
    "halves agree",
    "leave-one-out, first hidden layer",
    "leave-one-out, penultimate layer",
    "sharpness at random",
    "mix same, label",
    "Davies-Bouldin",
    "training loss",
)


STRATA = {"fitted": "fit 95%", "fitted more": "fit 99%", "chosen before": "later networks"}
"""Stratum → its name in the tables."""


AGAIN_HIDDEN = ("mix same", "mix other", "mix near", "natural", "noise 0.1")
"""Single disturbances that two networks are not shown to agree on: the mean of all has a row of its own."""


def rewrite(page: str, saved: dict[str, list[Row]]) -> str:
    """Return a page with its tables anew; a table is found by its heads.

    Args:
        page: Markdown.
        saved: Results.

    Raises:
        ValueError: If a table is not in the page.
    """
    for table in report(saved).split("\n\n"):
        heads = table.split("\n")[0]
        start = page.index(heads)
        end = page.index("\n\n", start)
        page = page[:start] + table + page[end:]
    return page


def report(saved: dict[str, list[Row]]) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join((_measures(saved), _calibration(saved), _again(saved["again"]), _zoo(saved["zoo"])))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    """Return a figure with two digits and a true minus sign."""
    if value is None or value != value:
        return "–"
    text = f"{value:.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def _measures(saved: dict[str, list[Row]]) -> str:
    about = {one["stratum"]: one for one in saved["strata"]}
    by = {(one["stratum"], one["measure"]): one for one in saved["measures"]}
    names = [one["measure"] for one in saved["measures"] if one["stratum"] == "fitted"]
    # the sizes of the noise apart are parts of flatness
    names = [name for name in names if not name.startswith("flatness, ")]
    best = names[:MEASURE_ROWS]
    names = [name for name in names if name in best or name in NAMED]
    rows = [
        [
            name,
            _number(by["fitted", name]["tau"]),
            f"{_number(by['fitted', name]['low'])} to {_number(by['fitted', name]['high'])}",
            *(_number(by["fitted", name][part]) for part in ("clean", "noisy", "clear")),
            _number(by["fitted more", name]["tau"]),
            _number(by["chosen before", name]["tau"]),
        ]
        for name in names
    ]
    ceilings = [
        "*ceiling*",
        _number(about["fitted"]["ceiling"]),
        "",
        "",
        "",
        "",
        _number(about["fitted more"]["ceiling"]),
        _number(about["chosen before"]["ceiling"]),
    ]
    pairs = ["*pairs*", f"{about['fitted']['pairs']}", "", "", "", "", *_counts(about)]
    heads = ["measure", "τ", "90%", "right labels", "wrong labels", "clear", "fit 99%", "later networks"]
    return _table(heads, [*rows, ceilings, pairs])


def _counts(about: dict[str, Any]) -> list[str]:
    return [f"{about[name]['pairs']}" for name in ("fitted more", "chosen before")]


def _calibration(saved: dict[str, list[Row]]) -> str:
    rows = [
        [
            f"{STRATA[one['stratum']]}: {one['measure']}",
            f"{one['pairs']}",
            _number(one["tau"]),
            _number(one["slope"]),
            f"{100 * one['told']:.0f}%",
            "–" if one["told_right"] is None else f"{100 * one['told_right']:.0f}%",
            "–" if one["seed_pairs_told"] is None else f"{100 * one['seed_pairs_told']:.0f}%",
            "; ".join(f"{100 * b['said']:.0f}% → {100 * b['true']:.0f}% ({b['pairs']})" for b in one["bins"]),
        ]
        for one in saved["calibration"]
    ]
    heads = [
        "pairs",
        "number",
        "τ",
        "slope",
        "told",
        "of these right",
        "told of equal recipes",
        "said → true",
    ]
    return _table(heads, rows)


def _again(rows: Sequence[Row]) -> str:
    """Return the measures by networks trained again, beside flatness on the same pairs."""
    cells = [
        [
            row["measure"],
            f"{row['pairs']} in {row['cells']}",
            _number(row["tau"]),
            f"{_number(row['low'])} to {_number(row['high'])}",
            _number(row["flatness"]),
            f"{_number(row['better_low'])} to {_number(row['better_high'])}",
        ]
        for row in rows
        if not (row["measure"].startswith(("second", "earlier")) and row["measure"].endswith(AGAIN_HIDDEN))
    ]
    heads = ["measure", "pairs in cells", "τ", "90%", "τ of flatness on these", "by how much better, 90%"]
    return _table(heads, cells)


def _zoo(zoo: Sequence[Row]) -> str:
    by = {(_stratum(one), one["measure"]): one for one in zoo}
    strata = list(dict.fromkeys(stratum for stratum, _ in by))
    first = sorted((one for one in zoo if _stratum(one) == strata[0]), key=lambda one: -float(one["tau"]))
    names = [one["measure"] for one in first]
    best = names[:ZOO_ROWS]
    names = [name for name in names if name in best or name in ZOO_NAMED]
    heads = ["measure", *(f"≥ {least:.2f}, {'same labels' if same else 'any'}" for least, same in strata)]
    rows = [[name, *(_number(by[stratum, name]["tau"]) for stratum in strata)] for name in names]
    half = [_number(by[stratum, names[0]]["half_against_whole"]) for stratum in strata]
    counts = [str(max(one["pairs"] for one in zoo if _stratum(one) == stratum)) for stratum in strata]
    return _table(heads, [*rows, ["*half of the test set*", *half], ["*pairs*", *counts]])


def _stratum(one: Row) -> tuple[float, bool]:
    return float(one["least_train_accuracy"]), bool(one["same_labels"])
