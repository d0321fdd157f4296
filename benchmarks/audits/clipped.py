"""Whose gradients does a winsorized mean clip, and is a step along it better for new data than the mean's?

    python -m benchmarks.audits.clipped          measure, and write results/clipped.json
    python -m benchmarks.audits.clipped --show   show the saved results

The networks are those of `benchmarks.detection.runs`, at its stages, and of `benchmarks.generalization.zoo`;
the zoo has to be trained before. For each network: the AUROC for wrong labels of the share of a sample's
gradient that is clipped, beside loss, gradient norm and cohaudit's suspicion; what share of the step comes
from memorized samples; and the cosine of the mean and of each robust average to the mean gradient of up to
1,000 test samples. Of two short steps of the same length, the one with the larger cosine lowers the test loss
more.
"""

from __future__ import annotations

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

from benchmarks.detection.runs import Case, Run, train_case
from benchmarks.generalization import zoo
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import (
    CPU,
    SUSPICION_THRESHOLD,
    default_options,
    measure_model,
    silent,
    source_of,
)
from benchmarks.shared.results import Row, read_json, read_rows, write_rows
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
from cohaudit.gradients.passes.coordinates import Coordinates, gradient_coordinates
from cohaudit.results.kinds import is_memorized

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
"""Families of the zoo that are measured."""
MAX_TEST_SAMPLES = 1000
"""Largest number of test samples."""
AVERAGES = ("mean", *WINSORIZED, "median of three")
"""Averages of the samples' gradients that are compared."""
SETS = ("memorized", "suspects", "wrong")

Array = NDArray[np.float64]


def networks(folder: Path) -> Iterator[tuple[Row, nn.Module, zoo.Pool, Array]]:
    """Yield what a row says of a network, the network, its data, and which labels are wrong."""
    for case in CASES:
        train_case(case, folder)
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
        facts = read_json(path)
        about = {"from": "zoo", "data": member.family, "noise": f"{member.noise:.0%}", "model": member.key}
        about |= {"stage": "", "test_accuracy": facts["test_accuracy"]}
        model = zoo.load(member, tuple(pool.train.shape[1:]), pool.classes)
        yield about, model, pool, (pool.labels != truth).numpy()


def judge(about: Row, model: nn.Module, data: zoo.Pool, wrong: Array) -> Row | None:
    """Return a network's row; None if it predicts its labels no better than chance."""
    labels = data.labels.numpy()
    cold = measure_model(model, data.train, data.labels, data.classes)
    fitted = float(np.mean(cold.predicted == labels))
    if fitted < 2 / data.classes:
        return None
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability)
    memorized = is_memorized(found.memorization)
    sets = np.stack([memorized, found.probability >= SUSPICION_THRESHOLD, wrong])
    chosen = sample_coordinates(model, len(labels), 0)
    own = _coordinates(model, data.train, data.labels, data.classes, chosen)
    new = _coordinates(
        model, data.test[:MAX_TEST_SAMPLES], data.test_labels[:MAX_TEST_SAMPLES], data.classes, chosen
    )
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
    source = source_of(x, y, classes)
    found = gradient_coordinates(model, source, chosen, default_options(), CPU, advance=silent)
    return Coordinates(found.rows, found.scale / found.scale.max())


def _test_cosines(
    drawn: dict[str, CoordinateSample], new: Coordinates, layers: dict[str, dict[str, int]]
) -> list[float]:
    """Return the cosine of each average to the mean gradient of the test samples."""
    ours = []
    theirs = []
    weights = []
    for layer, one in drawn.items():
        kinds = [np.array([part.mean, *part.winsorized, part.median]) for part in one.blocks]
        ours.append(np.concatenate(kinds, axis=1))
        theirs += [new.gradients(name).mean(0) for name in layers[layer]]
        weights.append(np.full(one.sampled, one.weight))
    a = np.concatenate(ours, axis=1)
    b = np.concatenate(theirs)
    w = np.concatenate(weights)
    return [float(w @ (r * b) / np.sqrt((w @ (r * r)) * (w @ (b * b)))) for r in a]


def _of_as_many(score: Array, wrong: Array) -> float:
    """Return the share of wrong labels among as many samples of the largest scores."""
    return float(wrong[np.argsort(-score, kind="stable")[: int(wrong.sum())]].mean())


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the step of each run, which samples are clipped, and which average serves new data better."""
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
    ranked = [row for row in rows if "auroc" in row]
    for row in ranked:
        if row["from"] == "runs":
            cells = (f"{row['auroc'][name]:.3f} ({row['of as many'][name]:.0%})" for name in names)
            table.add_row(_name(row), *cells)
    zoo_rows = [row for row in ranked if row["from"] == "zoo"]
    for data, noise in sorted({(row["data"], row["noise"]) for row in zoo_rows}):
        some = [row for row in zoo_rows if (row["data"], row["noise"]) == (data, noise)]
        cells = (f"{np.mean([row['auroc'][name] for row in some]):.3f}" for name in names)
        table.add_row(f"zoo, {data} {noise}, mean of {len(some)}", *cells)
    return table


def _better(rows: Sequence[Row]) -> Table:
    """Return how often, and by how much, a robust average has the larger cosine to the test gradient."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        judged = (judge(*network) for network in networks(args.data_dir))
        write_rows(RESULTS, [row for row in judged if row])
    show(read_rows(RESULTS), Console(width=160))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
