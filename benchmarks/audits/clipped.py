"""Whose gradients does a winsorized mean clip, and is a step along it better for new data than the mean's?

    python -m benchmarks.audits.clipped          measure, and write results/clipped.json
    python -m benchmarks.audits.clipped --show   print what was written

Networks of `runs.py` (at its stages) and of `zoo.py`, trained before. Of each: the AUROC for wrong labels of
the share of a sample's gradient that is clipped, beside loss, gradient norm and cohaudit's suspicion; which
share of the step memorized samples own; and the cosine of the mean and of each robust average to the mean
gradient of up to 1,000 test samples: of two steps of one length, the one with the larger cosine lowers the
test loss more, as long as the step is short.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.detection.comparison import SUSPECT
from benchmarks.detection.runs import Case, Run
from benchmarks.generalization import zoo
from benchmarks.generalization.evidence import measured
from benchmarks.shared import paths
from cohaudit.analysis.leave_one_out import suspect_labels
from cohaudit.audits.robust_mean import (
    LENGTHENED,
    MIN_SUSPECT_SHARE,
    SHORTENED,
    WINSORIZED,
    averaged,
    layers_of,
    sample_coordinates,
)
from cohaudit.audits.winsorized_statistics import (
    CoordinateSample,
    Totals,
    clipped_shares,
    cosine,
    norm_ratio,
    share_of_step,
)
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.coordinates import Coordinates, gradient_coordinates
from cohaudit.pipeline.scan import options_of
from cohaudit.results.kinds import MEMORIZED

RESULTS = paths.RESULTS / "clipped.json"
CASES = (
    Case("digits", "0 %", "MLP, SGD", 0),
    Case("digits", "10 %", "MLP, SGD", 0),
    Case("digits", "20 %", "CNN, Adam", 0),
    Case("fashion", "10 %", "CNN, Adam", 0),
    Case("labelme", "majority", "MLP, Adam", 0),
)
STAGES = ("best", "interpolated", "over-trained")
FAMILIES = ("digits MLP", "digits CNN", "fashion MLP")
TESTED = 1000
AVERAGES = ("mean", *WINSORIZED, "median of three")
SETS = ("memorized", "suspects", "wrong")

Row = dict[str, Any]
Array = NDArray[np.float64]


def networks(folder: Path) -> Iterator[tuple[Row, nn.Module, zoo.Pool, Array]]:
    """Yield what a network is, the network, its data, and which labels are wrong."""
    for case in CASES:
        run = Run(case, folder)
        data = run.data
        pool = zoo.Pool(data.train, data.labels, data.test, data.test_labels, data.classes)
        for stage in STAGES:
            epoch = run.epochs[stage]
            about = {"from": "runs", "data": case.data, "noise": case.noise, "model": case.model}
            about |= {"stage": stage, "test_accuracy": run.test_accuracy[epoch - 1]}
            yield about, run.checkpoint(epoch), pool, data.wrong.numpy()
    for member in zoo.members():
        path = zoo.CACHE / f"{member.key}.json"
        if member.family not in FAMILIES or not path.exists():
            continue
        pool = zoo.given(member, folder)
        truth = zoo.pool(zoo.family_of(member).data, folder).labels[: len(pool.labels)]
        facts = json.loads(path.read_text(encoding="utf-8"))
        about = {"from": "zoo", "data": member.family, "noise": f"{member.noise:.0%}", "model": member.key}
        about |= {"stage": "", "test_accuracy": facts["test_accuracy"]}
        model = zoo.load(member, tuple(pool.train.shape[1:]), pool.classes)
        yield about, model, pool, (pool.labels != truth).numpy()


def judge(about: Row, model: nn.Module, data: zoo.Pool, wrong: Array) -> Row | None:
    """Return a network's row; None where it knows nothing of its labels."""
    labels = data.labels.numpy()
    cold = measured(model, data.train, data.labels, data.classes)
    fitted = float(np.mean(cold.predicted == labels))
    if fitted < 2 / data.classes:
        return None
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability)
    memorized = found.memorization > MEMORIZED
    sets = np.stack([memorized, found.probability >= SUSPECT, wrong])
    chosen = sample_coordinates(model, len(labels), 0)
    own = _coordinates(model, data.train, data.labels, data.classes, chosen)
    new = _coordinates(model, data.test[:TESTED], data.test_labels[:TESTED], data.classes, chosen)
    drawn = averaged(own, layers_of(model), sets, 0)
    totals = Totals(list(drawn.values()), len(labels), 0)
    row = about | {"samples": len(labels), "fitted": fitted}
    row |= {name: int(one.sum()) for name, one in zip(SETS, sets, strict=True)}
    row["wrong fitted"] = float(np.mean((cold.predicted == labels)[wrong])) if wrong.any() else None
    row["test cosine"] = dict(zip(AVERAGES, _test_cosines(drawn, new, layers_of(model)), strict=True))
    for k, name in enumerate(AVERAGES):
        row[f"kept, {name}"] = totals.estimate(norm_ratio(k)).value
        row[f"cosine, {name}"] = totals.estimate(cosine(k)).value
    for k, name in enumerate(AVERAGES[:-1]):
        shares = {one: totals.estimate(share_of_step(k, s)).value for s, one in enumerate(SETS)}
        row[f"step, {name}"] = shares
    scores = dict(zip(WINSORIZED, clipped_shares(list(drawn.values())), strict=True))
    scores |= {"loss": cold.loss, "gradient norm": cold.squared_norms.sum(1), "suspicion": -found.evidence}
    if 0 < wrong.sum() < len(wrong):
        row["auroc"] = {name: float(roc_auc_score(wrong, score)) for name, score in scores.items()}
        row["of as many"] = {name: _of_as_many(score, wrong) for name, score in scores.items()}
    if 0 < memorized.sum() < len(wrong):
        row["auroc for memorized"] = {n: float(roc_auc_score(memorized, s)) for n, s in scores.items()}
    return row


def _coordinates(model: nn.Module, x: Tensor, y: Tensor, classes: int, chosen: Any) -> Coordinates:
    ids, names = [str(i) for i in range(len(y))], [str(c) for c in range(classes)]
    source = Source(lambda indices: x[list(indices)], y.numpy(), ids, names)
    options = options_of(Config())
    found = gradient_coordinates(
        model, source, chosen, options, torch.device("cpu"), advance=lambda done: None
    )
    return Coordinates(found.rows, found.scale / found.scale.max())


def _test_cosines(
    drawn: dict[str, CoordinateSample], new: Coordinates, layers: dict[str, dict[str, int]]
) -> list[float]:
    """Return the cosine of each average to the mean gradient of the test samples."""
    ours, theirs, weights = [], [], []
    for layer, one in drawn.items():
        kinds = [np.array([part.mean, *part.winsorized, part.median]) for part in one.blocks]
        ours.append(np.concatenate(kinds, axis=1))
        theirs += [new.gradients(name).mean(0) for name in layers[layer]]
        weights.append(np.full(one.sampled, one.weight))
    a, b, w = np.concatenate(ours, axis=1), np.concatenate(theirs), np.concatenate(weights)
    return [float(w @ (r * b) / np.sqrt((w @ (r * r)) * (w @ (b * b)))) for r in a]


def _of_as_many(score: Array, wrong: Array) -> float:
    """Return the share of wrong labels among as many samples of the largest scores."""
    return float(wrong[np.argsort(-score, kind="stable")[: int(wrong.sum())]].mean())


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the step of each run, who is clipped, and which average serves new data better."""
    runs = [row for row in rows if row["from"] == "runs"]
    for table in (_steps(runs), _ranked(rows), _better(rows)):
        console.print(table)


def _name(row: Row) -> str:
    return " ".join((row["data"], row["noise"], row["stage"]))


def _steps(runs: Sequence[Row]) -> Table:
    columns = ("network", "wrong fitted", "kept 1 %, 4 %, M3", "memorized", "own of mean, 1 %, 4 %")
    table = Table(*columns, "test cosine of mean, 1 %, 4 %, M3", title="The step")
    for row in runs:
        table.add_row(
            _name(row),
            "" if row["wrong fitted"] is None else f"{row['wrong fitted']:.0%}",
            ", ".join(f"{row[f'kept, {name}']:.2f}" for name in AVERAGES[1:]),
            f"{row['memorized'] / row['samples']:.1%}",
            ", ".join(f"{row[f'step, {name}']['memorized']:.0%}" for name in AVERAGES[:-1]),
            ", ".join(f"{row['test cosine'][name]:.3f}" for name in AVERAGES),
        )
    return table


def _ranked(rows: Sequence[Row]) -> Table:
    names = (*WINSORIZED, "gradient norm", "loss", "suspicion")
    table = Table("network", *names, title="AUROC for wrong labels (share of wrong labels among as many)")
    told = [row for row in rows if "auroc" in row]
    for row in told:
        if row["from"] == "runs":
            cells = (f"{row['auroc'][name]:.3f} ({row['of as many'][name]:.0%})" for name in names)
            table.add_row(_name(row), *cells)
    zoo_rows = [row for row in told if row["from"] == "zoo"]
    for data, noise in sorted({(row["data"], row["noise"]) for row in zoo_rows}):
        some = [row for row in zoo_rows if (row["data"], row["noise"]) == (data, noise)]
        cells = (f"{np.mean([row['auroc'][name] for row in some]):.3f}" for name in names)
        table.add_row(f"zoo, {data} {noise}, mean of {len(some)}", *cells)
    return table


def _better(rows: Sequence[Row]) -> Table:
    """Tell how often, and by how much, a robust average has the larger cosine to the test gradient."""
    names = AVERAGES[1:]
    table = Table("networks", "number", *names, title="Larger cosine to the test gradient than the mean's")
    largest = [row[f"kept, {WINSORIZED[-1]}"] for row in rows]
    suspects = [row["suspects"] >= MIN_SUSPECT_SHARE * row["samples"] for row in rows]
    groups: dict[str, list[bool]] = {
        "no wrong label": [not row["wrong"] for row in rows],
        "wrong labels": [row["wrong"] > 0 for row in rows],
        f"4 % keeps {LENGTHENED:g} or more, suspects": [
            k >= LENGTHENED and s for k, s in zip(largest, suspects, strict=True)
        ],
        f"4 % keeps {LENGTHENED:g} or more, none": [
            k >= LENGTHENED and not s for k, s in zip(largest, suspects, strict=True)
        ],
        "4 % keeps something between": [SHORTENED <= k < LENGTHENED for k in largest],
        f"4 % keeps less than {SHORTENED:g}": [k < SHORTENED for k in largest],
    }
    for group, which in groups.items():
        some = [row["test cosine"] for row, own in zip(rows, which, strict=True) if own]
        gains = ([cosines[name] - cosines["mean"] for cosines in some] for name in names)
        cells = (f"{sum(g > 0 for g in gain)} ({np.mean(gain):+.3f})" for gain in gains)
        table.add_row(group, str(len(some)), *cells)
    return table


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--show", action="store_true", help="print what was written")
    args, console = parser.parse_args(), Console(width=160)
    if not args.show:
        torch.set_num_threads(1)
        rows = []
        for network in networks(args.data_dir):
            row = judge(*network)
            rows += [row] if row else []
        text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
        RESULTS.write_text(text, encoding="utf-8")
    show(json.loads(RESULTS.read_text(encoding="utf-8")), console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
