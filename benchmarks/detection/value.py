"""What is the list of suspects worth? Networks retrained without them, or with their labels corrected.

    python -m benchmarks.detection.value --data-dir DIR   train what is missing, and show
    python -m benchmarks.detection.value --show           show the saved results

Takes the interpolated checkpoints of `benchmarks.detection.runs`. From each, cohaudit names suspects;
networks are trained from the start without them, and with the suggested labels in place of the given ones,
until they fit their labels. Beside them: as many samples dropped at random, by loss, and by cleanlab in five
folds; the list that cleanlab itself draws up; nothing dropped; and exactly the wrong labels dropped, which
nobody could do. Accuracy is measured on test samples with right labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.detection.detectors import cleanlab, from_logits
from benchmarks.detection.processes import judge_cases
from benchmarks.detection.runs import CASE_KEYS, Case, Run, train_case
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import judge_as_a_scan, measure_model
from benchmarks.shared.recipes import RECIPES, train_until
from benchmarks.shared.results import Row, read_rows, replace_rows, write_json
from benchmarks.shared.training import accuracy, logits_of

RESULTS = paths.RESULTS / "value.json"
CACHE = paths.CACHE / "value"
"""Folder of each case's rows."""
NOTHING = "nothing"
"""Name of the list that drops no sample."""
TABLE: tuple[tuple[str, str, tuple[str, ...], int, int], ...] = (
    ("digits", "MLP, SGD", ("20 %", "10 %"), 2, 5),
    ("labelme", "MLP, Adam", ("majority", "one annotator"), 1, 5),
    ("fashion", "MLP, SGD", ("20 %",), 2, 5),
    ("fashion", "CNN, Adam", ("20 %",), 2, 3),
    ("trec", "transformer, Adam", ("20 %",), 2, 3),
)
"""Data, network, kinds of noise, number of seeds of data and checkpoint, and training runs from each list."""

Lists: TypeAlias = dict[str, tuple[np.ndarray, np.ndarray]]


def lists(run: Run) -> Lists:
    """Return for each way of cleaning which samples it keeps, bool [samples], and what labels it gives."""
    data = run.data
    labels = data.labels.numpy()
    wrong = data.wrong.numpy()
    model = run.checkpoint(run.epochs["interpolated"])
    cold = measure_model(model, data.train, data.labels, data.classes)
    found, suspect = judge_as_a_scan(cold, data.train, data.labels, data.classes)
    logits = logits_of(model, data.train)
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


def trained_again(data: NoisyData, case: Case, kept: np.ndarray, labels: np.ndarray, seed: int) -> Row:
    """Return the accuracy on held-out samples of a network trained from the start."""
    torch.manual_seed(seed)
    recipe = RECIPES[case.model]
    model = recipe.build(data)
    epochs = train_until(recipe, model, data.train[kept], torch.from_numpy(labels)[kept])
    return {"epochs": epochs, "accuracy": accuracy(model, data.test, data.test_labels)}


def judge(case: Case, count: int, folder: Path) -> list[Row]:
    """Clean a case's labels in every way and retrain from each list, unless that was done before."""
    torch.set_num_threads(1)
    train_case(case, folder)
    run = Run(case, folder)
    file = CACHE / f"{case.folder.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(file)
    done = {(row["list"], row["training"]) for row in rows}
    truth = run.data.truth.numpy()
    for name, (kept, labels) in lists(run).items():
        for training in range(count):
            if (name, training) in done:
                continue
            about: Row = case.about() | {
                "list": name,
                "training": training,
                "dropped": float(1 - kept.mean()),
            }
            about |= {"wrong_left": float((labels != truth)[kept].mean())}
            rows.append(about | trained_again(run.data, case, kept, labels, 1000 * case.seed + training))
            file.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def show(rows: Sequence[Row], console: Console) -> None:
    """Print each list's gain over none: the mean over all training runs, and its 95 % interval (Student)."""
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
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--data", nargs="+", help="only these data sets")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    args = parser.parse_args(arguments)
    console = Console(width=150)
    rows = read_rows(RESULTS)
    if not args.show:
        jobs = {
            Case(data, noise, model, seed): partial(
                judge, Case(data, noise, model, seed), count, args.data_dir
            )
            for data, model, noises, seeds, count in TABLE
            for noise in noises
            for seed in range(seeds)
            if not args.data or data in args.data
        }
        for new in judge_cases(jobs, args.workers, console):
            rows = replace_rows(rows, new, CASE_KEYS)
            write_json(RESULTS, rows)
    show(rows, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
