"""Is memory where labels become readable? Parts of networks rewound, frozen, regularized, without units.

    python -m benchmarks.audits.localization --data-dir DIR   train what is missing, and show
    python -m benchmarks.audits.localization --show           show the saved results

A scan names the layer whose input already fits most of the labels that the layers before it do not support.
Here networks with wrong labels are changed in one part at a time, the layers between two views of the scan. A
part holds memory as far as wrong labels are lost more than right ones if it is rewound to an earlier epoch or
loses a tenth of its units, and as far as it owns the units by which single predictions are flipped. That is
compared, by Spearman's correlation over a network's parts, with what the scan says of them: how much more of
the unsupported labels is readable after a part than before it. Then networks are trained again with one part
frozen at the best epoch, decayed or with dropout. Each case is saved in benchmarks/.cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from benchmarks.audits.localization_networks import cases
from benchmarks.audits.localization_runs import rows_of
from benchmarks.gradients.datamodeling_scores import rank_correlations
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows

RESULTS = paths.RESULTS / "localization.json"
CASE = ["data", "noise", "network", "seed"]
"""Columns that tell which case a row is about."""
INTERVENTIONS = ("rewound to the start", "rewound to the best epoch", "units dropped", "units flip")
"""Changes of a finished network."""
ORDERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "readable: rise": lambda parts: parts["after"] - parts["before"],
    "readable: level": lambda parts: parts["after"],
    "first layers first": lambda parts: -parts["segment"],
    "share of the gradient": lambda parts: parts["energy"],
    "number of weights": lambda parts: parts["parameters"],
}
"""What can be said of parts without touching them: the more, the more memory is expected there."""
REPEATS = 2000
"""Bootstrap samples."""

Array: TypeAlias = np.ndarray


def agreements(table: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's correlation of each order with each intervention's effect: a row per case and stage.

    Columns are intervention and order, the case's, and whether the order's first part has the largest effect.

    Args:
        table: Rows of results.
    """
    found = []
    parts = table[table["about"] == "segment"]
    for (*case, stage, about), rows in table[table["about"].isin(INTERVENTIONS)].groupby(
        [*CASE, "stage", "about"], sort=False
    ):
        same = (parts[[*CASE, "stage"]] == [*case, stage]).all(axis=1)
        both = parts[same].set_index("segment").join(effects(rows, str(about)), how="inner").reset_index()
        if len(both) < 3 or both["effect"].nunique() == 1:
            continue
        for order, key in ORDERS.items():
            score = key(both).to_numpy(dtype=float)
            effect = both["effect"].to_numpy(dtype=float)
            found.append(
                dict(zip(CASE, case, strict=True))
                | {"stage": stage, "intervention": about, "order": order, "parts": len(both)}
                | {"spearman": float(rank_correlations(score[:, None], effect[:, None])[0])}
                | {"hit": float(score.argmax() == effect.argmax()), "chance": 1 / len(both)}
            )
    return pd.DataFrame(found)


def effects(rows: pd.DataFrame, about: str) -> pd.DataFrame:
    """Return how much more wrong labels than right ones depend on each part: column effect, by segment."""
    # of units that flip a prediction, the shares are of the wrong labels' and of the right labels' ones
    sign = 1.0 if about == "units flip" else -1.0
    effect = sign * (rows["wrong"] - rows["right"])
    return pd.DataFrame({"effect": effect.to_numpy()}, index=pd.Index(rows["segment"], name="segment"))


def interval(values: Array, groups: Array) -> tuple[float, float, float]:
    """Return the mean, and a 90% interval by resampled groups.

    Args:
        values: [any].
        groups: Group of each value: those of a group are no independent evidence.
    """
    names, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, values)
    sizes = np.bincount(place)
    draws = np.random.default_rng(0).integers(0, len(names), (REPEATS, len(names)))
    means = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, (0.05, 0.95))
    return float(values.mean()), float(low), float(high)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return what regularizing each choice of parts gains over none, a row per case, way and choice.

    "Any single part" is the mean over the network's parts.
    """
    found = []
    for (*case, way), rows in table[table["about"].isin(("decay", "dropout", "frozen"))].groupby(
        [*CASE, "about"], sort=False
    ):
        by_choice = rows.set_index("choice")[["wrong", "right", "test"]]
        single = by_choice[[str(choice).isdigit() for choice in by_choice.index]]
        choices = {"any single part": single.mean()} | {
            name: by_choice.loc[name] for name in ("all", "named", "not named") if name in by_choice.index
        }
        for choice, row in choices.items():
            change = row - by_choice.loc["none"]
            about = dict(zip(CASE, case, strict=True)) | {"way": way, "choice": choice}
            found.append(about | {name: change[name] for name in ("wrong", "right", "test")})
    return pd.DataFrame(found)


def show(rows: Sequence[Row]) -> None:
    """Print the agreement of each order with each intervention, and what regularizing a part gains."""
    table = pd.DataFrame(list(rows))
    print(f"{len(table[CASE].drop_duplicates())} networks")
    agreed = agreements(table)
    for (stage, intervention), some in agreed.groupby(["stage", "intervention"], sort=False):
        print(f"\n{stage}, {intervention}: Spearman over the parts; largest effect named, by chance")
        for order, own in some.groupby("order", sort=False):
            groups = (own["data"] + " " + own["network"]).to_numpy()
            mean, low, high = interval(own["spearman"].to_numpy(), groups)
            hit = f"{own['hit'].mean():.0%}, {own['chance'].mean():.0%}"
            print(f"  {order:24} {mean:5.2f} [{low:.2f}, {high:.2f}]  {hit}  ({len(own)} networks)")
    units = table[(table["about"] == "units flip") & (table["stage"] == "interpolated")]
    first = units[units["segment"] == 0]
    print(
        "\nUnits that flip a prediction, fitted: "
        + ", ".join(
            f"{first[f'{kind}_units'].mean():.1f} of {kind} labels, {first[kind].mean():.0%} of them in the "
            "first part"
            for kind in ("wrong", "right")
        )
    )
    gained = gains(table)
    print(
        "\nChange against training without: wrong labels fitted, right labels fitted, test accuracy, points"
    )
    for (way, choice), some in gained.groupby(["way", "choice"], sort=False):
        groups = (some["data"] + " " + some["network"]).to_numpy()
        mean, low, high = interval(100 * some["test"].to_numpy(), groups)
        fitted = " ".join(f"{100 * np.mean(some[name].to_numpy()):6.1f}" for name in ("wrong", "right"))
        print(f"  {way:8} {choice:16} {fitted} {mean:6.1f} [{low:.1f}, {high:.1f}]  ({len(some)} networks)")
    named = gained.pivot_table("test", [*CASE, "way"], "choice").reset_index().dropna(subset=["named"])
    print("\nTest accuracy with the named part regularized, minus that with another choice, points")
    for choice in ("not named", "all", "any single part"):
        for (way,), some in named.dropna(subset=[choice]).groupby(["way"], sort=False):
            groups = (some["data"] + " " + some["network"]).to_numpy()
            mean, low, high = interval(100 * (some["named"] - some[choice]).to_numpy(), groups)
            print(
                f"  {way:8} against {choice:16} {mean:6.1f} [{low:.1f}, {high:.1f}]  ({len(some)} networks)"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    args = make_parser(__doc__, data=True, show=True).parse_args(arguments)
    if not args.show:
        rows: list[Row] = []
        for case in cases():
            rows += rows_of(case, args.data_dir)
            # after each case: an interrupted run leaves what it has
            write_rows(RESULTS, rows)
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
