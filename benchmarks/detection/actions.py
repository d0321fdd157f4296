"""What does the report promise of cleaning the labels, and what does cleaning bring?

    python -m benchmarks.detection.actions --data-dir DIR   scan what is missing, and show
    python -m benchmarks.detection.actions --show           show the saved results

The report states how much of the predicted gap the memorized samples are: cleaning lowers the gap by that
much at most. Here the interpolated networks of `benchmarks.detection.value` are scanned for that figure, and
it is compared with what `value` measured: by how much the accuracy on right labels rises once the suspects
are dropped or relabeled and a network is retrained until it fits its labels. As both networks fit their
training labels, the gap falls by as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

import cohaudit
from benchmarks.detection import value
from benchmarks.detection.runs import CASE_KEYS, Case, Run, train_case
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_json, read_rows, write_json
from cohaudit.results import Skipped

RESULTS = paths.RESULTS / "actions.json"
CASES = [
    Case(data, noise, model, seed)
    for data, model, noises, seeds, _ in value.TABLE
    for noise in noises
    for seed in range(seeds)
]
"""Cases of `value`."""


def promised(case: Case, folder: Path) -> Row:
    """Return what an audit of the interpolated network says of its memorized samples."""
    torch.set_num_threads(1)
    train_case(case, folder)
    run = Run(case, folder)
    model = run.checkpoint(run.epochs["interpolated"])
    audit = cohaudit.scan(model, (run.data.train, run.data.labels), audits=("none",))
    if isinstance(audit.risk, Skipped):
        return case.about() | {"gap": None, "promised": None}
    shares = [one.lowers for one in audit.risk.drivers if one.kind == "samples"]
    return case.about() | {"gap": audit.risk.gap.value, "promised": shares[0] if shares else 0.0}


def gains() -> pd.DataFrame:
    """Return the rise of accuracy on right labels by network and way of cleaning, over all training runs."""
    rows = pd.DataFrame(read_json(value.RESULTS))
    means = rows.groupby([*CASE_KEYS, "list"])["accuracy"].mean().unstack("list")
    return means.sub(means[value.NOTHING], axis=0).reset_index()


def show(rows: Sequence[Row], console: Console) -> None:
    """Print what was promised beside what cleaning brought."""
    printed = Table("data", "labels", "network", "seed", title="points of the gap")
    for title in ("predicted gap", "memorized, at most", "dropped", "relabeled", "wrong ones dropped"):
        printed.add_column(title, justify="right")
    measured = gains()
    for row in rows:
        own = measured
        for key in CASE_KEYS:
            own = own[own[key] == row[key]]
        if own.empty or row["gap"] is None:
            continue
        gain = own.iloc[0]
        figures = [row["gap"], row["promised"]]
        figures += [gain[name] for name in ("cohaudit, dropped", "cohaudit, relabeled", "the wrong ones")]
        printed.add_row(*(str(row[key]) for key in CASE_KEYS), *(f"{100 * figure:.1f}" for figure in figures))
    console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--data", nargs="+", help="only these data sets")
    args = parser.parse_args(arguments)
    rows = read_rows(RESULTS)
    done = {tuple(row[key] for key in CASE_KEYS) for row in rows}
    for case in [] if args.show else CASES:
        if (args.data and case.data not in args.data) or tuple(case.about().values()) in done:
            continue
        rows.append(promised(case, args.data_dir))
        write_json(RESULTS, rows)
    show(rows, Console(width=130))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
