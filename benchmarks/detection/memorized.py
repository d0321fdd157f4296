"""How much is each sample memorized? One checkpoint's answer beside hundreds of trainings without it.

    python -m benchmarks.detection.memorized --data-dir DIR   train what is not trained yet, and show
    python -m benchmarks.detection.memorized --show           show what was measured before

Feldman & Zhang (NeurIPS 2020, "What Neural Networks Memorize and Why", eq. 2) call a sample memorized as far
as a network trained with it gives its label, and one trained without it does not. Each network here is
trained on seven tenths of the samples, drawn at random, until it fits them; a sample's memorization is its
share of right answers by the networks that saw it, minus that by those that did not. Methods see one network,
trained on all samples. Answers are kept in benchmarks/.cache, network by network.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import pearsonr, spearmanr
from torch import nn

from benchmarks.detection.comparison import peers_of, scanned
from benchmarks.detection.runs import CACHE, INTERPOLATED, RECIPES, Case, fit
from benchmarks.shared import paths
from benchmarks.shared.datasets import Noisy, noisy
from cohaudit.analysis.leave_one_out import suspect_labels

RESULTS = paths.RESULTS / "memorized.json"
TRAINED_ON = 0.7
"""Share of the samples that each network sees."""
TABLE = (
    ("digits", "MLP, SGD", 1300, 300),
    ("digits", "CNN, Adam", 1300, 120),
    ("fashion", "MLP, SGD", 2000, 200),
)
"""Data, network, samples, and how many networks are trained."""
NOISES = ("10 %", "0 %")

Row: TypeAlias = dict[str, Any]
Array: TypeAlias = np.ndarray


def some(case: Case, count: int, folder: Path) -> Noisy:
    """Return the first samples of a case."""
    data = noisy(case.data, case.noise, case.seed, folder)
    return Noisy(
        data.train[:count],
        data.labels[:count],
        data.truth[:count],
        data.test,
        data.test_labels,
        data.classes,
    )


def trained(case: Case, data: Noisy, members: Array, seed: int) -> nn.Module:
    """Return a network that was trained on some samples until it fitted them."""
    torch.manual_seed(seed)
    recipe = RECIPES[case.model]
    model = recipe.build(data)
    fit(model, recipe, data.train[members], data.labels[members], INTERPOLATED)
    return model


def answers(case: Case, count: int, networks: range, folder: Path) -> None:
    """Train some of a case's networks, and keep who saw which sample and who gives its label."""
    torch.set_num_threads(1)
    kept = _folder(case, count)
    if all((kept / f"{network:04}.npz").exists() for network in networks):
        return
    data = some(case, count, folder)
    kept.mkdir(parents=True, exist_ok=True)
    for network in networks:
        file = kept / f"{network:04}.npz"
        if file.exists():
            continue
        saw = np.random.default_rng([case.seed, network]).random(count) < TRAINED_ON
        model = trained(case, data, np.flatnonzero(saw), network)
        with torch.no_grad():
            right = torch.cat([model(x) for x in data.train.split(500)]).argmax(1) == data.labels
        np.savez(file, saw=saw, right=right.numpy())


def _folder(case: Case, count: int) -> Path:
    return CACHE.parent / "memorized" / f"{case.folder.name}-{count}"


def memorization(saw: Array, right: Array) -> Array:
    """Return how much more often the networks that saw a sample give its label, [samples].

    NaN where all saw it, or none did.

    Args:
        saw: Whether a network was trained on a sample, bool [networks, samples].
        right: Whether it gives the sample's label, bool [networks, samples].
    """
    told = saw.any(0) & ~saw.all(0)
    with_it = (saw & right).sum(0) / np.maximum(saw.sum(0), 1)
    without = (~saw & right).sum(0) / np.maximum((~saw).sum(0), 1)
    return np.where(told, with_it - without, np.nan)


def _read(file: Path, key: str) -> Array:
    with np.load(file) as arrays:
        return np.asarray(arrays[key])


def judge(case: Case, count: int, networks: int, folder: Path) -> list[Row]:
    """Return a row per method, and one of how well half of the networks tell what the other half says."""
    files = [_folder(case, count) / f"{network:04}.npz" for network in range(networks)]
    saw, right = (np.stack([_read(file, key) for file in files]) for key in ("saw", "right"))
    truth = memorization(saw, right)
    halves = [memorization(saw[part::2], right[part::2]) for part in range(2)]
    about = {
        "data": case.data,
        "noise": case.noise,
        "model": case.model,
        "samples": count,
        "networks": networks,
    }
    about |= {"mean": float(np.nanmean(truth)), "above_half": float(np.nanmean(truth > 0.5))}
    scores = scored(case, some(case, count, folder)) | {"the other half of the networks": halves[0]}
    return [
        about | {"method": name} | agreement(score, halves[1] if name.startswith("the other") else truth)
        for name, score in scores.items()
    ]


def scored(case: Case, data: Noisy) -> dict[str, Array]:
    """Return every method's score from a network that was trained on all samples."""
    model = trained(case, data, np.arange(len(data.labels)), 10_000).eval()
    cold = scanned(data, model, 1.0)
    found = suspect_labels([view.rows for view in cold.views], data.labels.numpy(), cold.probability)
    return {"cohaudit": found.memorization} | peers_of(data, model, cold)


def agreement(score: Array, truth: Array) -> Row:
    """Return the correlations of a score with the truth, where both are known; 0 of a constant score."""
    known = np.isfinite(score) & np.isfinite(truth)
    score, truth = score[known], truth[known]
    if np.ptp(score) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(pearsonr(score, truth).statistic),
        "spearman": float(spearmanr(score, truth).statistic),
    }


def show(rows: Sequence[Row], console: Console) -> None:
    """Print each method's correlation with the measured memorization, case by case, and the mean of all."""
    table = pd.DataFrame(list(rows))
    table["case"] = table["data"] + ", " + table["model"] + ", " + table["noise"]
    cases = list(dict.fromkeys(table["case"]))
    for kind in ("pearson", "spearman"):
        printed = Table("method", *cases, "mean", title=f"{kind} correlation with the measured memorization")
        pivot = table.pivot_table(kind, "method", "case")[cases]
        for method in pivot.mean(axis=1).sort_values(ascending=False).index:
            own = pivot.loc[method]
            printed.add_row(str(method), *(f"{value:.3f}" for value in own), f"{own.mean():.3f}")
        console.print(printed)
    for case, own in table.groupby("case", sort=False):
        first = own.iloc[0]
        console.print(
            f"{case}: {first['networks']} networks, {first['samples']:,} samples, mean memorization "
            f"{first['mean']:.3f}, above one half {first['above_half']:.1%}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--data", nargs="+", help="only these data")
    parser.add_argument("--networks", type=int, default=300, help="most networks a case")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--show", action="store_true", help="show the results, and do nothing else")
    args, console = parser.parse_args(arguments), Console(width=170)
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    if not args.show:
        for noise in NOISES:
            for data, model, count, networks in TABLE:
                if args.data and data not in args.data:
                    continue
                case = Case(data, noise, model, 0)
                found = _run(case, count, min(networks, args.networks), args.data_dir, args.workers)
                this = {key: found[0][key] for key in ("data", "noise", "model")}
                rows = [row for row in rows if {key: row[key] for key in this} != this] + found
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(rows, console)
    return 0


def _run(case: Case, count: int, networks: int, folder: Path, workers: int) -> list[Row]:
    parts = [range(start, min(start + 10, networks)) for start in range(0, networks, 10)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done in [pool.submit(partial(answers, case, count, part, folder)) for part in parts]:
            done.result()
    return judge(case, count, networks, folder)


if __name__ == "__main__":
    raise SystemExit(main())
