"""The expected score by few samples: of networks that scans look at with `--limit`.

    python -m benchmarks.generalization.expected_few --data-dir DIR   judge (five minutes on one core)
    python -m benchmarks.generalization.expected_few --show           show the saved results

Some networks of `benchmarks.same_data.evidence`, which must be there: trained on 600 samples, judged by 50 to
600 of them by the constants that ship. Recipes had no part in the choice of these constants; the families of
data sets did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.generalization.expected import gap_figures
from benchmarks.same_data.cells import Cell, cells, samples
from benchmarks.same_data.recipes import build, recipes
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import measure_model, predict_outside
from benchmarks.shared.results import Row, read_json, read_rows, write_rows
from cohaudit.analysis.expected_score import ExpectedScore, expect_score
from cohaudit.analysis.leave_one_out import suspect_labels
from cohaudit.analysis.sanity import is_skilled
from cohaudit.loading.stratified_sample import choose_samples

FEW = paths.RESULTS / "gap_few.json"
LIMITS = (50, 100, 200, 600)
"""Samples looked at; networks were trained on the largest number."""
PLACES = (0, 4)
"""Networks of each cell, by their place among its recipes."""


def rows_of(cell: Cell, folder: Path) -> Iterator[Row]:
    """Yield the row of each network of a cell that has a verdict, by each number of samples."""
    data = samples(cell, folder)
    for limit in LIMITS:
        some = torch.from_numpy(choose_samples(data.labels.numpy(), limit, 0))
        x = data.train[some]
        y = data.labels[some]
        outside = predict_outside(x, y, data.classes).probability
        for place in PLACES:
            if (cell.folder / f"{place}.json").exists():
                yield from _row(cell, place, data, limit=limit, x=x, y=y, outside=outside)


def _row(
    cell: Cell,
    place: int,
    data: NoisyData,
    *,
    limit: int,
    x: torch.Tensor,
    y: torch.Tensor,
    outside: np.ndarray,
) -> Iterator[Row]:
    facts = read_json(cell.folder / f"{place}.json")["figures"]
    model = build(recipes(cell)[place], data)
    model.load_state_dict(load_file(cell.folder / f"{place}.safetensors"))
    labels = y.numpy()
    measured = measure_model(model.eval(), x, y, data.classes)
    if not is_skilled(measured.predicted, labels, data.classes):
        return
    views = [view.rows for view in measured.views]
    found = suspect_labels(views, labels, measured.probability, (), [outside])
    score = expect_score(measured.predicted, found.noise, outside=True)
    if not isinstance(score, ExpectedScore):
        return
    trained = float(np.mean(measured.predicted == labels))
    yield {
        "dataset": cell.data,
        "family": cell.family,
        "noise": cell.noise,
        "network": place,
        "samples": len(labels),
        "classes": data.classes,
        "limited": limit < len(data.labels),
        "train_accuracy": trained,
        "support": score.support,
        **gap_figures(trained, score.right, facts["test_accuracy"]),
        "true_accuracy": facts["test_accuracy"],
    }


def show(rows: Sequence[Row]) -> None:
    """Print the errors by number of samples."""
    for limit in LIMITS:
        some = [row for row in rows if row["samples"] == limit]
        off = 100 * np.array([row["expected"] - row["true_accuracy"] for row in some])
        held = np.mean([row["low"] <= row["true"] <= row["high"] for row in some])
        half = 50 * np.mean([row["high"] - row["low"] for row in some])
        print(
            f"{limit:4} samples, {len(some)} networks: error {np.abs(off).mean():.1f} points, "
            f"bias {off.mean():+.1f}; the interval, ± {half:.1f}, holds {held:.0%}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code, 1 if no network is there."""
    args = make_parser(__doc__, data=True, show=True).parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        rows = []
        for cell in cells():
            if (cell.folder / "cell.npz").exists():
                rows += list(rows_of(cell, args.data_dir))
                print(cell.data, cell.noise, flush=True)
        if not rows:
            print("no network was measured: run benchmarks.same_data.evidence")
            return 1
        write_rows(FEW, rows)
    show(read_rows(FEW))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
