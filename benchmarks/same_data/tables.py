"""The tables of docs/same_data.md, from the saved results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.shared.results import Row

ZOO_ROWS = 6
"""Measures of the zoo that are listed, the best of the strictest comparison; and those named besides."""
ZOO_NAMED = ("predicted gap", "leave-one-out gap, input", "Davies-Bouldin with mixup", "spectral norms")
MEASURE_ROWS = 14
"""Measures that are listed, the best on all fitted pairs; and those named besides."""
NAMED = (
    "expected accuracy",
    "agreement",
    "mixup × Davies-Bouldin",
    "sharpness",
    "spectral norms",
    "parameter norm",
    "path norm",
    "halves agree",
    "training loss",
)


def report(saved: dict[str, list[Row]]) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join((_measures(saved), _calibration(saved), _zoo(saved["zoo"])))


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
    names = names[:MEASURE_ROWS] + [name for name in NAMED if name in names[MEASURE_ROWS:]]
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
    heads = ["measure", "τ", "90%", "right labels", "wrong labels", "clear", "fit 99%", "chosen before"]
    return _table(heads, [*rows, ceilings, pairs])


def _counts(about: dict[str, Any]) -> list[str]:
    return [f"{about[name]['pairs']}" for name in ("fitted more", "chosen before")]


def _calibration(saved: dict[str, list[Row]]) -> str:
    rows = [
        [
            f"{one['stratum']}, {one['measure']}",
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


def _zoo(zoo: Sequence[Row]) -> str:
    strata = list(dict.fromkeys((one["least_train_accuracy"], one["same_labels"]) for one in zoo))
    by = {(one["least_train_accuracy"], one["same_labels"], one["measure"]): one for one in zoo}
    first = sorted(
        (one for one in zoo if (one["least_train_accuracy"], one["same_labels"]) == strata[0]),
        key=lambda one: -one["tau"],
    )
    names = [one["measure"] for one in first]
    names = names[:ZOO_ROWS] + [name for name in ZOO_NAMED if name in names[ZOO_ROWS:]]
    heads = [
        "measure",
        *(f"≥ {least:.2f}, {'same labels' if same else 'any noise'}" for least, same in strata),
    ]
    rows = [[name, *(_number(by[(*stratum, name)]["tau"]) for stratum in strata)] for name in names]
    for part, words in (("half_against_whole", "*half of the test set against all of it*"),):
        rows.append([words, *(_number(by[(*stratum, names[0])][part]) for stratum in strata)])
    rows.append(
        [
            "*pairs*",
            *(
                str(max(o["pairs"] for o in zoo if (o["least_train_accuracy"], o["same_labels"]) == s))
                for s in strata
            ),
        ]
    )
    return _table(heads, rows)
