"""What are predictions from the raw data worth, which the network has no part in?

    python -m benchmarks.detection.outside --data-dir DIR   measure what is missing, and show
    python -m benchmarks.detection.outside --show           show the saved results

A fifth of the labels is replaced: by any other class, or by the class whose mean is nearest to the sample
("confused"). Where people or keywords have labeled the data, their labels are used too. Each case has at most
4,000 samples. `accuracy` is that of the out-of-fold prediction against the true labels; samples are ranked by
−log of the probability of the given label. Seconds are CPU time of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import SOURCES, WORDS, adult_rows, word_numbers
from benchmarks.shared.measuring import predict_outside
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows

RESULTS = paths.RESULTS / "outside.json"
MOST = 4000
"""Samples of a case at most."""
SHARE = 0.2
"""Share of the labels that is replaced."""
CONFUSED = "20 % confused"
UNIFORM = "20 %"
Integers = NDArray[np.int64]
Loaded = tuple[torch.Tensor, Integers, dict[str, Integers]]
"""Inputs [N, ...], true labels [N], and labels by people or keywords."""


def _shared(name: str) -> Callable[[Path], Loaded]:
    def load(folder: Path) -> Loaded:
        clean = SOURCES[name](folder, 0)
        human = {noise: labels.numpy()[:MOST] for noise, labels in clean.human.items()}
        return clean.train[:MOST], clean.truth.numpy()[:MOST], human

    return load


def _some(rows: int) -> Integers:
    return np.random.default_rng(0).permutation(rows)[:MOST]


def _adult(folder: Path) -> Loaded:
    rows, labels = adult_rows(folder)
    chosen = _some(len(rows))
    return rows[chosen], labels.numpy()[chosen], {}


def _california(folder: Path) -> Loaded:
    table = pd.read_csv(folder / "california_housing.csv.gz")
    place = pd.get_dummies(table.pop("ocean_proximity"), dtype=float)
    numbers = table.apply(pd.to_numeric, errors="coerce").dropna()
    value = pd.qcut(numbers.pop("median_house_value"), 4, labels=False).to_numpy().astype(np.int64)
    rows = np.concatenate([numbers.to_numpy(), place.loc[numbers.index].to_numpy()], 1)
    chosen = _some(len(rows))
    return torch.from_numpy(rows[chosen]).float(), value[chosen], {}


def _hausa_news(folder: Path) -> Loaded:
    table = pd.read_csv(folder / "hausa_news.csv")
    names = sorted({*table["true_label"], *table["label"]})
    true, keywords = (table[column].map(names.index).to_numpy() for column in ("true_label", "label"))
    return word_numbers(table["text"].astype(str).tolist(), 40, WORDS), true, {"keywords": keywords}


def _cifar10h(folder: Path) -> Loaded:
    with np.load(folder / "cifar10_20k.npz") as arrays:
        pixels, true = arrays["x_test"][:MOST], arrays["y_test"][:MOST].astype(np.int64)
    with np.load(folder / "cifar10h_4k.npz") as arrays:
        given = arrays["one_annotator"][:MOST].astype(np.int64)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, true, {"one annotator": given}


DATA: dict[str, Callable[[Path], Loaded]] = {
    "adult": _adult,
    "california": _california,
    "trec": _shared("trec"),
    "sentiment": _shared("sentiment"),
    "hausa_news": _hausa_news,
    "fashion": _shared("fashion"),
    "cifar10h": _cifar10h,
    "digits": _shared("digits"),
    "labelme": _shared("labelme"),
}
"""Data sets by name."""


def noises(inputs: torch.Tensor, true: Integers) -> Iterator[tuple[str, Integers]]:
    """Yield the labels of each planted noise."""
    rng = np.random.default_rng(1)
    classes = int(true.max()) + 1
    wrong = rng.random(len(true)) < SHARE
    yield UNIFORM, np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)
    if classes > 2:  # of two classes the other one is always the nearest
        yield CONFUSED, np.where(wrong, nearest_class(inputs, true), true)


def nearest_class(inputs: torch.Tensor, true: Integers) -> Integers:
    """Return, for each sample, the other class whose mean input is nearest, [N]."""
    if inputs.is_floating_point():
        rows = inputs.flatten(1).double().numpy()
    else:  # texts by the words that they have, at length 1
        rows = np.zeros((len(inputs), WORDS))
        np.put_along_axis(rows, inputs.numpy(), 1, axis=1)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-9)
    means = np.stack([rows[true == label].mean(0) for label in range(int(true.max()) + 1)])
    distance = np.square(means).sum(1) - 2 * rows @ means.T
    distance[np.arange(len(true)), true] = np.inf
    nearest: Integers = distance.argmin(1)
    return nearest


def judge(name: str, loaded: Loaded) -> list[Row]:
    """Return a row for each noise of a data set."""
    inputs, true, human = loaded
    rows = []
    for noise, given in [*human.items(), *noises(inputs, true)]:
        classes = int(max(true.max(), given.max())) + 1
        start = time.process_time()
        view = predict_outside(inputs, torch.tensor(given), classes)
        seconds = time.process_time() - start
        score = -np.log(view.probability[np.arange(len(given)), given])
        wrong = given != true
        rows.append(
            {
                **{"data": name, "noise": noise, "samples": len(given), "classes": classes},
                **{"view": view.name, "wrong": float(wrong.mean())},
                "accuracy": float(np.mean(view.probability.argmax(1) == true)),
                "auroc": float(roc_auc_score(wrong, score)),
                "ap": float(average_precision_score(wrong, score)),
                "seconds": round(seconds, 1),
            }
        )
    return rows


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    columns = ("data", "noise", "view", "wrong", "accuracy", "auroc", "ap", "seconds")
    printed = Table(*columns, title="Labels predicted from the raw data")
    for row in rows:
        cells = (row[column] for column in columns)
        printed.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--data", nargs="+", choices=DATA, help="only these data sets, measured again")
    args = parser.parse_args(arguments)
    console = Console(width=170)
    rows = read_rows(RESULTS)
    if not args.show:
        done = {row["data"] for row in rows}
        for name in args.data or [name for name in DATA if name not in done]:
            try:
                loaded = DATA[name](args.data_dir)
            except FileNotFoundError as error:
                console.print(f"{name} is left out: {error}")
                continue
            rows = replace_rows(rows, judge(name, loaded), ("data",))
            write_rows(RESULTS, rows)
    show(rows, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
