"""Do a sample's supporters support it? Scores of gradients beside networks retrained on half of the samples.

    python -m benchmarks.gradients.datamodeling --data-dir DIR   train what is missing, and show
    python -m benchmarks.gradients.datamodeling --show           show the saved results

A scan names, beside a suspect, the samples whose gradients have the largest and the most negative cosines
with its own. Whether these raise and lower the margin of its label is a question of what a network would
do without them. The linear datamodeling score (Ilyas et al., ICML 2022, "Datamodels"; Park et al., ICML
2023, "TRAK") answers it: networks are retrained on random halves of the samples, and the margin of a
target is compared, by Spearman's correlation over the halves, with the sum of the scores of the samples
in the half. Targets are training samples with wrong and with right labels, each judged by the halves
without it, and new samples. A fifth of the labels is wrong. What the networks answer is saved in
benchmarks/.cache: another score is judged in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.gradients.datamodeling_runs import (
    AUDITED,
    EXPERIMENTS,
    Experiment,
    audited_file,
    halves,
    outcomes,
    run,
)
from benchmarks.gradients.datamodeling_scores import (
    Array,
    datamodeling_scores,
    named_effects,
    presence_effects,
    rank_correlations,
    scores_of,
)
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.results.thresholds import WHITENING_RIDGE

RESULTS = paths.RESULTS / "datamodeling.json"
RIDGES = (1.0, 3.0, 10.0, 30.0)
"""λ of the kernel methods, in units of a sample's mean squared length."""
STAGES = ("best", "fitted")
"""When networks are asked: early, and when nearly all labels are fitted."""
CEILING = "a perfect method"
"""Name of the row that says how far the truth is itself known."""
NAMED = 5
"""Supporters, and opponents, of a sample whose effect is looked at: as many as a report shows."""
REPEATS = 1000
"""Bootstrap samples of the targets."""


def judge(experiment: Experiment) -> list[Row]:
    """Return a row per stage, kind of target and method."""
    return [row for stage in range(len(STAGES)) for row in _judge_stage(experiment, stage)]


def _judge_stage(experiment: Experiment, stage: int) -> list[Row]:
    margins = outcomes(experiment, stage)
    subsets = np.zeros((margins.shape[1], experiment.samples), dtype=bool)
    np.put_along_axis(subsets, halves(experiment.samples).numpy(), values=True, axis=1)
    usable = np.ones(margins.shape[1:], dtype=bool)
    usable[:, : experiment.samples] = ~subsets
    effects = presence_effects(subsets, margins.mean(0), usable)
    by_method: dict[tuple[str, float | None], list[Array]] = {}
    named: dict[tuple[str, float | None], list[tuple[Array, Array]]] = {}
    for number in range(AUDITED):
        with np.load(audited_file(experiment, number, stage)) as measured:
            wrong = measured["wrong"]
            for name, scores in scores_of(measured, experiment.samples, RIDGES).items():
                found = datamodeling_scores(scores, subsets, margins.mean(0), usable)
                by_method.setdefault(name, []).append(found)
                named.setdefault(name, []).append(named_effects(scores, effects, NAMED))
    each = {name: np.mean(found, 0) for name, found in by_method.items()}
    if len(margins) > 1:
        each[CEILING, None] = ceiling(margins, usable)
    indices = np.arange(margins.shape[2])
    kinds = {
        "wrong label": indices[: experiment.samples][wrong],
        "right label": indices[: experiment.samples][~wrong],
        "new sample": indices[experiment.samples :],
    }
    about: Row = {"data": experiment.data, "network": experiment.network, "stage": STAGES[stage]}
    about |= {"samples": experiment.samples, "networks": int(np.prod(margins.shape[:2]))}
    return [
        about
        | {"target": kind, "targets": len(some), "method": name, "ridge": ridge}
        | mean_with_interval(found[some])
        | mean_effects(named.get((name, ridge), ()), some)
        for kind, some in kinds.items()
        for (name, ridge), found in each.items()
    ]


def ceiling(margins: Array, usable: Array) -> Array:
    """Return the largest rank correlation that any score can have with each target's mean margins, [T].

    The networks of one half of the seeds are correlated with the other's: by r, the mean of all has the
    reliability 2r / (1 + r) (Spearman and Brown, 1910), whose root is the largest correlation.

    Args:
        margins: [seeds, subsets, T].
        usable: Which subsets count for a target, bool [subsets, T].
    """
    half = len(margins) // 2
    first = margins[:half].mean(0)
    second = margins[half : 2 * half].mean(0)
    found = rank_correlations(np.where(usable, first, np.nan), np.where(usable, second, np.nan))
    # one target's r has too few subsets to be divided by: the mean over all targets is known well
    r = max(float(np.nanmean(found)), 0.0)
    return np.full(usable.shape[1], np.sqrt(2 * r / (1 + r)))


def mean_with_interval(scores: Array) -> Row:
    """Return the mean of the targets' scores, with a 90% interval by resampled targets."""
    known = scores[np.isfinite(scores)]
    draws = np.random.default_rng(0).integers(0, len(known), (REPEATS, len(known)))
    low, high = np.quantile(known[draws].mean(1), (0.05, 0.95))
    return {"score": float(known.mean()), "low": float(low), "high": float(high)}


def mean_effects(named: Sequence[tuple[Array, Array]], some: Array) -> Row:
    """Return the mean effect of some targets' supporters, and of their opponents, over audited networks."""
    if not named:
        return {"supporters": None, "opponents": None}
    up, down = (float(np.mean([one[side][some].mean() for one in named])) for side in (0, 1))
    return {"supporters": up, "opponents": down}


def show(rows: Sequence[Row]) -> None:
    """Print each method's score: the mean over the kinds of targets, by stage, then each kind alone."""
    table = pd.DataFrame(list(rows))
    table["case"] = table["data"] + " " + table["network"] + " " + table["samples"].astype(str)
    chosen = chosen_ridges(table)
    print("λ chosen on the first data set, by the mean of its stages and targets:")
    print("  " + ", ".join(f"{name}: {ridge:g}" for name, ridge in chosen.items()))
    # scans name samples by the λ that was chosen for gradients
    chosen |= {"forward pass, whitened": WHITENING_RIDGE}
    kept = table["ridge"].isna() | (table["ridge"] == table["method"].map(chosen))
    shown = table[kept].copy()
    for target in ("all", *dict.fromkeys(table["target"])):
        some = shown if target == "all" else shown[shown["target"] == target]
        pivot = some.pivot_table("score", "method", ["stage", "case"], sort=False)
        print(f"\ntarget: {target}\n")
        print(pivot.round(2).to_string())
    wrong = shown[shown["target"] == "wrong label"]
    for side in ("supporters", "opponents"):
        print(
            f"\nWhat the presence of the {NAMED} strongest {side} does to the margin of a wrong label, in its"
        )
        print("standard deviations over the halves\n")
        print(wrong.pivot_table(side, "method", ["stage", "case"], sort=False).round(2).to_string())
    ridges = table[table["method"] == "whitened cosine"]
    print("\nWhitened cosine by λ, mean over stages and targets")
    print(ridges.pivot_table("score", "ridge", "case", sort=False).round(3).to_string())
    # those that a scan names, and those that it would name with every gradient measured: at its own λ
    own = kept_ridge(table, WHITENING_RIDGE)
    _show_difference(own, "whitened cosine", "cosine")
    _show_difference(own, "forward pass, whitened", "whitened cosine")
    _show_difference(own, "forward pass, whitened", "last layer's gradient, whitened")


def kept_ridge(table: pd.DataFrame, ridge: float) -> pd.DataFrame:
    """Return the rows of all methods without λ, and of those with this λ."""
    return table[table["ridge"].isna() | (table["ridge"] == ridge)]


def _show_difference(table: pd.DataFrame, one: str, other: str) -> None:
    print(f"\n{one} minus {other}, mean over targets and data sets but the first; 90% by data sets:")
    others = table[table["data"] != table["data"].iloc[0]]
    for (samples, stage), some in others.groupby(["samples", "stage"], sort=False):
        pivot = some.pivot_table("score", "case", "method")
        difference = (pivot[one] - pivot[other]).to_numpy()
        draws = np.random.default_rng(0).integers(0, len(difference), (REPEATS, len(difference)))
        low, high = np.quantile(difference[draws].mean(1), (0.05, 0.95))
        change = f"{difference.mean():+.2f} [{low:.2f}, {high:.2f}]"
        wrong = some[some["target"] == "wrong label"].set_index(["case", "method"])
        effect = (wrong["supporters"] - wrong["opponents"]).unstack().mean()
        print(
            f"  {samples} samples, {stage}: {change} on {len(difference)} networks; effect of those named "
            f"{effect[one]:.2f} and {effect[other]:.2f}"
        )


def chosen_ridges(table: pd.DataFrame) -> dict[str, float]:
    """Return λ of each method with the best mean score on the first data set, method → λ."""
    first = table[(table["case"] == table["case"].iloc[0]) & table["ridge"].notna()]
    means = first.groupby(["method", "ridge"])["score"].mean()
    return {str(name): float(own.idxmax()[1]) for name, own in means.groupby("method", sort=False)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    args = make_parser(__doc__, data=True, show=True).parse_args(arguments)
    if not args.show:
        for experiment in EXPERIMENTS:
            run(experiment, args.data_dir)
        write_rows(RESULTS, [row for experiment in EXPERIMENTS for row in judge(experiment)])
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
