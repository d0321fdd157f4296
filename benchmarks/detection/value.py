"""What is the list of suspects worth? Networks trained again without them, or with their labels put right.

    python -m benchmarks.detection.value --data-dir DIR   train what is not trained yet, and show
    python -m benchmarks.detection.value --show           show what was measured before

Takes the interpolated checkpoints of detection.py. From each, cohaudit names suspects; networks are trained
from the start without them, and with the suggested labels in place of theirs, until they fit what they are
given. Beside them: as many samples dropped at random, by loss, and by cleanlab in five folds; the list that
cleanlab itself draws up; nothing dropped; and exactly the wrong labels dropped, which nobody can do. Accuracy
is that on test samples with right labels.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.detection.comparison import SUSPECT, scanned
from benchmarks.detection.detectors import cleanlab, from_logits
from benchmarks.detection.runs import CACHE, INTERPOLATED, RECIPES, Case, Run, accuracy, fit, train
from benchmarks.shared import paths
from benchmarks.shared.datasets import Noisy
from cohaudit.analysis.leave_one_out import suspect_labels

RESULTS = paths.RESULTS / "value.json"
NOTHING = "nothing"
TABLE: tuple[tuple[str, str, tuple[str, ...], int, int], ...] = (
    ("digits", "MLP, SGD", ("20 %", "10 %"), 2, 5),
    ("labelme", "MLP, Adam", ("majority", "one annotator"), 1, 5),
    ("fashion", "MLP, SGD", ("20 %",), 2, 5),
    ("fashion", "CNN, Adam", ("20 %",), 2, 3),
    ("trec", "transformer, Adam", ("20 %",), 2, 3),
)
"""Data, network, noise, seeds of the data and the audited checkpoint, and trainings from each list."""

Row: TypeAlias = dict[str, Any]
Lists: TypeAlias = dict[str, tuple[np.ndarray, np.ndarray]]


def lists(run: Run) -> Lists:
    """Return for each way of cleaning which samples it keeps, bool [samples], and what labels it gives."""
    data = run.data
    labels, wrong = data.labels.numpy(), data.wrong.numpy()
    model = run.checkpoint(run.epochs["interpolated"])
    cold = scanned(data, model, 1.0)
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability)
    suspect = found.probability >= SUSPECT
    with torch.no_grad():
        logits = torch.cat([model(x) for x in data.train.split(500)])
    folds = cleanlab(run.out_of_fold, labels)
    at_random = np.random.default_rng(run.case.seed).random(len(labels))

    def top(score: np.ndarray) -> np.ndarray:
        """Leave out as many as there are suspects, those with the highest score."""
        kept = np.ones(len(labels), dtype=bool)
        kept[np.argsort(-score, kind="stable")[: int(suspect.sum())]] = False
        return kept

    everything = np.ones(len(labels), dtype=bool)
    return {
        NOTHING: (everything, labels),
        "cohaudit, dropped": (~suspect, labels),
        "cohaudit, relabeled": (everything, np.where(suspect, found.suggested, labels)),
        "as many at random": (top(at_random), labels),
        "as many by loss": (top(from_logits(logits, data.labels)["loss"]), labels),
        "as many by 5 folds": (top(folds["self confidence"]), labels),
        "cleanlab's list, 5 folds": (folds["find issues"] < 2, labels),
        "the wrong ones": (~wrong, labels),
    }


def trained_again(data: Noisy, case: Case, kept: np.ndarray, labels: np.ndarray, seed: int) -> Row:
    """Return the accuracy on held-out samples of a network trained from the start."""
    torch.manual_seed(seed)
    recipe = RECIPES[case.model]
    model = recipe.build(data)
    epochs = fit(model, recipe, data.train[kept], torch.from_numpy(labels)[kept], INTERPOLATED)
    return {"epochs": epochs, "accuracy": accuracy(model, data.test, data.test_labels)}


def judge(case: Case, trainings: int, folder: Path) -> list[Row]:
    """Clean a case's labels in every way and train again from each, where that was not done."""
    torch.set_num_threads(1)
    train(case, folder)
    run = Run(case, folder)
    file = CACHE.parent / "value" / f"{case.folder.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    done = {(row["list"], row["training"]) for row in rows}
    truth = run.data.truth.numpy()
    for name, (kept, labels) in lists(run).items():
        for training in range(trainings):
            if (name, training) in done:
                continue
            about = {"data": case.data, "noise": case.noise, "model": case.model, "seed": case.seed}
            about |= {"list": name, "training": training, "dropped": float(1 - kept.mean())}
            about |= {"wrong_left": float((labels != truth)[kept].mean())}
            rows.append(about | trained_again(run.data, case, kept, labels, 1000 * case.seed + training))
            file.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def show(rows: Sequence[Row], console: Console) -> None:
    """Print what each list gains over none: the mean over all trainings, and its 95 % interval (Student)."""
    table = pd.DataFrame(list(rows))
    printed = Table(
        "data", "labels", "network", "list", title="accuracy on right labels, after training again"
    )
    for title in ("dropped", "wrong left", "accuracy", "gain", "95 % interval"):
        printed.add_column(title, justify="right")
    for (data, noise, model), own in table.groupby(["data", "noise", "model"], sort=False):
        by_list = own.set_index(["seed", "training"]).groupby("list", sort=False)
        without = by_list.get_group(NOTHING)["accuracy"]
        for name, part in by_list:
            gain = part["accuracy"] - without
            half = float(student.ppf(0.975, len(gain) - 1) * gain.std() / np.sqrt(len(gain)))
            printed.add_row(
                *(data, noise, model, str(name)),
                f"{part['dropped'].mean():.1%}",
                f"{part['wrong_left'].mean():.1%}",
                f"{part['accuracy'].mean():.4f}",
                f"{gain.mean():+.4f}",
                f"±{half:.4f}",
            )
        printed.add_section()
    console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--data", nargs="+", help="only these data")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--show", action="store_true", help="show the results, and do nothing else")
    args, console = parser.parse_args(arguments), Console(width=150)
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    if not args.show:
        wanted = [
            (Case(data, noise, model, seed), trainings)
            for data, model, noises, seeds, trainings in TABLE
            for noise in noises
            for seed in range(seeds)
            if not args.data or data in args.data
        ]
        rows = _run(wanted, args.data_dir, args.workers, rows, console)
    show(rows, console)
    return 0


def _run(
    wanted: list[tuple[Case, int]], folder: Path, workers: int, rows: list[Row], console: Console
) -> list[Row]:
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = {pool.submit(partial(judge, case, trainings, folder)): case for case, trainings in wanted}
        for job in as_completed(jobs):
            case = jobs[job]
            try:
                found = job.result()
            except FileNotFoundError as error:
                console.print(f"{case.data}: left out, there is no {error.filename}")
                continue
            console.print(f"[dim]{case.data}, {case.noise}, {case.model}, seed {case.seed}[/dim]")
            keys = ("data", "noise", "model", "seed")
            this = {key: found[0][key] for key in keys}
            rows = [row for row in rows if {key: row[key] for key in keys} != this] + found
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
