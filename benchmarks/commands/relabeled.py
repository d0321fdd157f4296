"""Does `cohaudit diff` see that labels were corrected, and does it ever take a correction for a damage?

    python -m benchmarks.commands.relabeled          judge the runs of benchmarks.verdicts, and show
    python -m benchmarks.commands.relabeled --show   show the saved results

The runs must have been trained: `python -m benchmarks.verdicts`. In each of them, wrong labels, as many as
3 % of the samples where there are so many, are replaced by the right ones: labels planted at random and by
other rules, labels by people, and labels by distant supervision. A changed label counts as less suspicious if
the pool of what the other samples predict gives it a higher probability than the label before. No network is
trained anew, and no constant of the rule was fitted. Wrong labels that come in are the same in a mirror: what
is called better here would be called worse there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.verdicts.cells import cells
from benchmarks.verdicts.runs import Run, Stage, load_run
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.analysis.leave_one_out import suspect_labels_by
from cohaudit.review.diff.label_changes import is_clear

RESULTS = paths.RESULTS / "relabeled.json"
CORRECTED = 0.03
"""Labels that are corrected, as a share of the samples."""
DRAWS = 200
"""Draws of the labels that are corrected."""
MIN_WRONG = 10
"""Wrong labels that a run must have."""


def judged(run: Run, name: str, stage: Stage) -> Row:
    """Return how often correcting labels of a checkpoint is called better, and worse."""
    views = [view.astype(np.float64) for view in stage.views]
    expected = suspect_labels_by(views, run.labels, stage.own, (), [run.outside]).expected
    wrong = np.flatnonzero(run.wrong)
    better = expected[wrong, run.truth[wrong]] > expected[wrong, run.labels[wrong]]
    count = min(len(wrong), round(CORRECTED * len(run.labels)))
    rng = np.random.default_rng(run.cell.seed)
    drawn = np.array([rng.choice(better, count, replace=False).sum() for _ in range(DRAWS)])
    cell = run.cell
    return {
        "dataset": cell.data,
        "family": "clouds" if cell.synthetic else DATA_SETS[cell.data].family,
        "noise": cell.noise,
        "kind": kind_of(cell.noise),
        "synthetic": cell.synthetic,
        "model": cell.model,
        "seed": cell.seed,
        "stage": name,
        "less_suspicious": float(better.mean()),
        "called_better": float(np.mean([is_clear(n, count - n, len(run.labels)) for n in drawn.tolist()])),
        "called_worse": float(np.mean([is_clear(count - n, n, len(run.labels)) for n in drawn.tolist()])),
    }


def kind_of(noise: str) -> str:
    """Return the kind of wrong labels: the name of their process without their share."""
    kind = noise.split("%")[-1].strip()
    if kind in {"one annotator", "majority"}:
        return "by people"
    return "of one class" if kind.startswith(("by class", "of class")) else kind


def rows() -> Iterator[Row]:
    """Yield a row for each checkpoint of the runs that have enough wrong labels."""
    for cell in cells():
        if cell.file.exists():
            run = load_run(cell)
            if run.wrong.sum() >= MIN_WRONG:
                for name, stage in run.stages.items():
                    yield judged(run, name, stage)


def groups(table: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by the kind of their wrong labels; those of synthetic data stand alone."""
    found: dict[str, list[Row]] = {}
    for row in table:
        found.setdefault("synthetic data" if row["synthetic"] else row["kind"], []).append(row)
    return dict(sorted(found.items(), key=lambda one: -mean(one[1], "called_better")))


def mean(table: Sequence[Row], name: str) -> float:
    """Return the mean of a figure."""
    return float(np.mean([row[name] for row in table]))


def show(table: Sequence[Row]) -> None:
    """Print a line for each kind of wrong labels."""
    for kind, own in groups(table).items():
        families = len({row["family"] for row in own})
        figures = "  ".join(f"{name} {mean(own, name):.0%}" for name in ("called_better", "called_worse"))
        print(f"{kind:16} {len(own):4} checkpoints {families:3} families  {figures}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code, 1 if no run was trained."""
    args = make_parser(__doc__, show=True).parse_args(arguments)
    if not args.show:
        found = list(rows())
        if not found:
            print("no run was trained: python -m benchmarks.verdicts")
            return 1
        write_rows(RESULTS, iter(found))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
