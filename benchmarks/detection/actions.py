"""What does the page promise of cleaning, and what does it bring?

    python -m benchmarks.detection.actions --data-dir DIR   scan what is not scanned yet, and show
    python -m benchmarks.detection.actions --show           show what was measured before

The page tells how much of the predicted gap the memorized samples are: cleaning lowers it by so much at most.
Here the interpolated networks of value.py are scanned for that figure, and it is held against what value.py
measured: by how much the accuracy on right labels rises once the suspects are dropped, or relabeled, and a
network is trained again until it fits what it is given. As both fit their training data, the gap falls by so
much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

import cohaudit
from benchmarks.detection.runs import Case, Run, train
from benchmarks.detection.value import NOTHING, TABLE
from benchmarks.detection.value import RESULTS as VALUE
from benchmarks.shared import paths
from cohaudit.results import Skipped

RESULTS = paths.RESULTS / "actions.json"
CASES = [
    Case(data, noise, model, seed)
    for data, model, noises, seeds, _ in TABLE
    for noise in noises
    for seed in range(seeds)
]


def promised(case: Case, folder: Path) -> dict[str, Any]:
    """Return what an audit of the interpolated network tells of its memorized samples."""
    torch.set_num_threads(1)
    train(case, folder)
    run = Run(case, folder)
    model = run.checkpoint(run.epochs["interpolated"])
    audit = cohaudit.scan(model, (run.data.train, run.data.labels), audits=("none",))
    about = {"data": case.data, "noise": case.noise, "model": case.model, "seed": case.seed}
    if isinstance(audit.risk, Skipped):
        return about | {"gap": None, "promised": None}
    found = [one.lowers for one in audit.risk.drivers if one.kind == "samples"]
    return about | {"gap": audit.risk.gap.value, "promised": found[0] if found else 0.0}


def brought() -> pd.DataFrame:
    """Return the rise of accuracy on right labels by network and way of cleaning, over all trainings."""
    rows = pd.DataFrame(json.loads(VALUE.read_text(encoding="utf-8")))
    keys = ["data", "noise", "model", "seed"]
    means = rows.groupby([*keys, "list"])["accuracy"].mean().unstack("list")
    return means.sub(means[NOTHING], axis=0).reset_index()


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print what was promised beside what cleaning brought."""
    printed = Table("data", "labels", "network", "seed", title="points of the gap")
    for title in ("predicted gap", "memorized, at most", "dropped", "relabeled", "wrong ones dropped"):
        printed.add_column(title, justify="right")
    measured = brought()
    for row in rows:
        own = measured
        for key in ("data", "noise", "model", "seed"):
            own = own[own[key] == row[key]]
        if own.empty or row["gap"] is None:
            continue
        gains = own.iloc[0]
        figures = [row["gap"], row["promised"]]
        figures += [gains[name] for name in ("cohaudit, dropped", "cohaudit, relabeled", "the wrong ones")]
        names = (row["data"], row["noise"], row["model"], str(row["seed"]))
        printed.add_row(*names, *(f"{100 * figure:.1f}" for figure in figures))
    console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", default="", help="data sets, separated by commas")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    chosen = parser.parse_args(arguments)
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    done = {(row["data"], row["noise"], row["model"], row["seed"]) for row in rows}
    wanted = chosen.only.split(",") if chosen.only else [case.data for case in CASES]
    for case in [] if chosen.show else CASES:
        if case.data in wanted and (case.data, case.noise, case.model, case.seed) not in done:
            rows.append(promised(case, chosen.data_dir))
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(rows, Console(width=130))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
