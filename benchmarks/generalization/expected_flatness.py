"""What flatness adds to the expected score: how many answers stay when noise is added to the weights.

    python -m benchmarks.generalization.expected_flatness --data-dir DIR   judge (five minutes on one core)
    python -m benchmarks.generalization.expected_flatness --show           show the saved results

The networks are those of `benchmarks.same_data.evidence` (600 samples, ten recipes a cell) and of
`benchmarks.generalization.expected_zoo` (200 to 3,000 samples), which must be there. Constants are chosen on
the former alone, each time without the family of the data set that is judged, for the zoo's networks too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.generalization import zoo
from benchmarks.generalization.expected import ZOO
from benchmarks.generalization.left_out import Array, Estimator, Known, log_odds
from benchmarks.same_data.cells import Cell, cells
from benchmarks.same_data.measures import softmax
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_json, read_rows, write_rows
from cohaudit.analysis.expected_score import INTERCEPT, SLOPE, ExpectedScore, expect_score, stay_odds
from cohaudit.analysis.leave_one_out import suspect_labels_by
from cohaudit.audits.flatness import MAX_SAMPLES, flatness
from cohaudit.results import Skipped

FLAT = paths.RESULTS / "gap_flatness.json"
FORMULAS = {"support": ("support",), "support and flatness": ("support", "stay")}
"""Name of a formula → what it takes the log-odds of."""


def same_data_rows(cell: Cell) -> Iterator[Row]:
    """Yield what each network of a cell shows, from what was saved of it."""
    common = cell.folder / "cell.npz"
    if not common.exists():
        return
    with np.load(common) as file:
        labels = file["labels"].astype(np.int64)
        outside = file["outside"].astype(np.float64)
    for path in sorted(cell.folder.glob("*.flatness.json")):
        place = path.name.split(".")[0]
        figures = read_json(cell.folder / f"{place}.json")
        with np.load(cell.folder / f"{place}.npz") as file:
            own = softmax(file["logits"])
            views = [view.astype(np.float64) for view in file["views"]]
        noise = suspect_labels_by(views, labels, own, (), [outside]).noise
        score = expect_score(own.argmax(1), noise, outside=True)
        assert isinstance(score, ExpectedScore)
        yield {
            "networks": "same data",
            "dataset": cell.data,
            "family": cell.family,
            "model": f"{figures['recipe']['architecture']} {place}",
            "noise": cell.noise,
            "seed": figures["recipe"]["seed"],
            "samples": len(labels),
            "support": score.support,
            "flatness": read_json(path)["flatness"],
            "train_accuracy": figures["figures"]["train_accuracy"],
            "accuracy": figures["figures"]["test_accuracy"],
        }


def zoo_rows(folder: Path) -> Iterator[Row]:
    """Yield what each network of other recipes shows; its support is what its saved expected score says."""
    members = {member.key: member for member in zoo.members()}
    for row in read_rows(ZOO):
        member = members[row["model"]]
        zoo.make(member, folder)
        data = zoo.given(member, folder)
        model = zoo.load(member, tuple(data.train.shape[1:]), data.classes)
        source = source_of(data.train, data.labels, data.classes)
        found = flatness(model, source, options=default_options(), device=CPU, advance=silent)
        assert not isinstance(found, Skipped)
        odds = (math.log(row["expected"] / (1 - row["expected"])) - INTERCEPT) / SLOPE
        yield {
            "networks": "zoo",
            "dataset": row["dataset"],
            "family": row["dataset"],
            "model": row["model"],
            "noise": f"{row['noise']:.0%}",
            "seed": member.seed,
            "samples": row["samples"],
            "support": 1 / (1 + math.exp(-odds)),
            "flatness": found.unchanged.value,
            "train_accuracy": row["train_accuracy"],
            "accuracy": row["true_accuracy"],
        }


def inputs_of(rows: Sequence[Row], names: Sequence[str]) -> Array:
    """Return the inputs of a formula, [K, I]."""
    columns = {
        "support": log_odds(np.array([row["support"] for row in rows])),
        "stay": np.array([stay_odds(row["flatness"], min(row["samples"], MAX_SAMPLES)) for row in rows]),
    }
    return np.column_stack([columns[name] for name in names])


def known_of(rows: Sequence[Row], names: Sequence[str]) -> Known:
    """Return the networks that constants are chosen on: those of the same data."""
    own = [row for row in rows if row["networks"] == "same data"]
    families = np.array([row["family"] for row in own])
    return Known(
        inputs=inputs_of(own, names),
        accuracy=np.array([row["accuracy"] for row in own]),
        families=families,
        groups=families,
        offset=np.zeros(len(own)),
    )


def judged(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield a row for each formula and network, by constants that its family had no part in."""
    for formula, names in FORMULAS.items():
        known = known_of(rows, names)
        inputs = inputs_of(rows, names)
        chosen: dict[str, Estimator] = {}
        for row, own in zip(rows, inputs, strict=True):
            family = row["family"]
            one = chosen.setdefault(family, known.without(family).choose())
            score = float(one.estimate(own[None])[0])
            low, high = max(score - one.half_width, 0.0), min(score + one.half_width, 1.0)
            trained = row["train_accuracy"]
            yield row | {
                "method": formula,
                "left_out": family,
                "predicted": trained - score,
                "low": trained - high,
                "high": trained - low,
                "true": trained - row["accuracy"],
                "expected": score,
            }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code, 1 if no network is there."""
    args = make_parser(__doc__, data=True, show=True).parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        rows = [row for cell in cells() for row in same_data_rows(cell)]
        if not rows:
            print("no network was measured: run benchmarks.same_data.evidence")
            return 1
        write_rows(FLAT, [_rounded(row) for row in judged([*rows, *zoo_rows(args.data_dir)])])
    saved = read_rows(FLAT)
    for formula, names in FORMULAS.items():
        own = [row for row in saved if row["method"] == formula]
        for networks in ("same data", "zoo"):
            off = np.array([row["expected"] - row["accuracy"] for row in own if row["networks"] == networks])
            print(
                f"{formula}, {networks}: error {100 * np.abs(off).mean():.1f}, bias {100 * off.mean():+.1f}"
            )
        chosen = known_of(own, names).choose()
        print(f"by all families: constants {chosen.constants.round(3)}, half width {chosen.half_width:.3f}")
    return 0


def _rounded(row: Row) -> Row:
    """Return a row with six decimals: more would be noise."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


if __name__ == "__main__":
    raise SystemExit(main())
