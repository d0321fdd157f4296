"""How much is each sample memorized? One checkpoint's answer beside hundreds of networks trained without it.

    python -m benchmarks.detection.memorized --data-dir DIR   train what is missing, and show
    python -m benchmarks.detection.memorized --show           show the saved results

Feldman & Zhang (NeurIPS 2020, "What Neural Networks Memorize and Why", eq. 2) call a sample memorized as far
as networks trained with it predict its label and networks trained without it do not. Each network here is
trained on seven tenths of the samples, drawn at random, until it fits them. A sample's memorization is the
share of right predictions by the networks that saw it, minus that share by the networks that did not. The
methods see one network, trained on all samples. Predictions are saved in benchmarks/.cache, network by
network.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import pearsonr, spearmanr
from torch import nn

from benchmarks.detection.detectors import checkpoint_scores
from benchmarks.detection.runs import Case
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.recipes import RECIPES, train_until
from benchmarks.shared.results import Row, read_rows, replace_rows, write_json
from benchmarks.shared.training import logits_of
from cohaudit.analysis.leave_one_out import suspect_labels

RESULTS = paths.RESULTS / "memorized.json"
CACHE = paths.CACHE / "memorized"
"""Folder of the networks' predictions."""
TRAINED_ON = 0.7
"""Share of the samples that each network sees."""
TABLE = (
    ("digits", "MLP, SGD", 1300, 300),
    ("digits", "CNN, Adam", 1300, 120),
    ("fashion", "MLP, SGD", 2000, 200),
)
"""Data, network, number of samples, and number of networks trained."""
NOISES = ("10 %", "0 %")

Array: TypeAlias = np.ndarray


def first_samples(case: Case, count: int, folder: Path) -> NoisyData:
    """Return a case's data with its first training samples only."""
    return load_noisy(case.data, case.noise, case.seed, folder).first(count)


def trained(case: Case, data: NoisyData, members: Array, seed: int) -> nn.Module:
    """Return a network that was trained on some samples until it fitted them."""
    torch.manual_seed(seed)
    recipe = RECIPES[case.model]
    model = recipe.build(data)
    train_until(recipe, model, data.train[members], data.labels[members])
    return model


def answers(case: Case, count: int, networks: range, folder: Path) -> None:
    """Train some of a case's networks; save which samples each saw, and which labels it predicts right."""
    torch.set_num_threads(1)
    folder_of_case = _folder(case, count)
    if all((folder_of_case / f"{network:04}.npz").exists() for network in networks):
        return
    data = first_samples(case, count, folder)
    folder_of_case.mkdir(parents=True, exist_ok=True)
    for network in networks:
        file = folder_of_case / f"{network:04}.npz"
        if file.exists():
            continue
        saw = np.random.default_rng([case.seed, network]).random(count) < TRAINED_ON
        model = trained(case, data, np.flatnonzero(saw), network)
        right = logits_of(model, data.train).argmax(1) == data.labels
        np.savez(file, saw=saw, right=right.numpy())


def _folder(case: Case, count: int) -> Path:
    return CACHE / f"{case.folder.name}-{count}"


def memorization(saw: Array, right: Array) -> Array:
    """Return how much more often the networks that saw a sample give its label, [samples].

    NaN where all saw it, or none did.

    Args:
        saw: Whether a network was trained on a sample, bool [networks, samples].
        right: Whether it gives the sample's label, bool [networks, samples].
    """
    defined = saw.any(0) & ~saw.all(0)
    with_it = (saw & right).sum(0) / np.maximum(saw.sum(0), 1)
    without = (~saw & right).sum(0) / np.maximum((~saw).sum(0), 1)
    return np.where(defined, with_it - without, np.nan)


def _read(file: Path, key: str) -> Array:
    with np.load(file) as arrays:
        return np.asarray(arrays[key])


def judge(case: Case, count: int, networks: int, folder: Path) -> list[Row]:
    """Return a row per method, and one of how well half of the networks tell what the other half says."""
    files = [_folder(case, count) / f"{network:04}.npz" for network in range(networks)]
    saw, right = (np.stack([_read(file, key) for file in files]) for key in ("saw", "right"))
    truth = memorization(saw, right)
    halves = [memorization(saw[part::2], right[part::2]) for part in range(2)]
    about: Row = {"data": case.data, "noise": case.noise, "model": case.model}
    about |= {"samples": count, "networks": networks}
    about |= {"mean": float(np.nanmean(truth)), "above_half": float(np.nanmean(truth > 0.5))}
    scores = scored(case, first_samples(case, count, folder)) | {"the other half of the networks": halves[0]}
    return [
        about | {"method": name} | agreement(score, halves[1] if name.startswith("the other") else truth)
        for name, score in scores.items()
    ]


def scored(case: Case, data: NoisyData) -> dict[str, Array]:
    """Return every method's score from a network that was trained on all samples."""
    model = trained(case, data, np.arange(len(data.labels)), 10_000).eval()
    cold = measure_model(model, data.train, data.labels, data.classes)
    found = suspect_labels([view.rows for view in cold.views], data.labels.numpy(), cold.probability)
    return {"cohaudit": found.memorization} | checkpoint_scores(data, model, cold)


def agreement(score: Array, truth: Array) -> Row:
    """Return the correlations of a score with the truth, where both are known; 0 of a constant score."""
    known = np.isfinite(score) & np.isfinite(truth)
    score = score[known]
    truth = truth[known]
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
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--data", nargs="+", help="only these data sets")
    parser.add_argument("--networks", type=int, default=300, help="largest number of networks a case")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    args = parser.parse_args(arguments)
    console = Console(width=170)
    rows = read_rows(RESULTS)
    if not args.show:
        for noise, (data, model, count, most) in itertools.product(NOISES, TABLE):
            if args.data and data not in args.data:
                continue
            case = Case(data, noise, model, 0)
            networks = min(most, args.networks)
            train_networks(case, count, networks, args.data_dir, args.workers)
            new = judge(case, count, networks, args.data_dir)
            rows = replace_rows(rows, new, ("data", "noise", "model"))
            write_json(RESULTS, rows)
    show(rows, console)
    return 0


def train_networks(case: Case, count: int, networks: int, folder: Path, workers: int) -> None:
    """Train what is missing of a case's networks in processes, ten networks a task."""
    parts = [range(start, min(start + 10, networks)) for start in range(0, networks, 10)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done in [pool.submit(partial(answers, case, count, part, folder)) for part in parts]:
            done.result()


if __name__ == "__main__":
    raise SystemExit(main())
