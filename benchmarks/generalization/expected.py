"""How well the accuracy on new data is estimated where no constant was chosen, beside other estimates.

    python -m benchmarks.generalization.expected          judge the runs of benchmarks.verdicts, and show
    python -m benchmarks.generalization.expected --show   show the saved results

The runs must have been trained: `python -m benchmarks.verdicts`. Every constant is chosen with the family of
the data set left out, the half width of every interval too. The constants that ship are those that all
families choose together; they are printed. What the checkpoints show is saved as well, so that constants
can be chosen anew without the runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console

from benchmarks.generalization import former
from benchmarks.generalization.expected_tables import show
from benchmarks.generalization.left_out import Estimator, Known, half_width, log_odds
from benchmarks.generalization.support import measured
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.analysis.expected_score import FEW_SAMPLES
from cohaudit.results import Estimate

RESULTS = paths.RESULTS / "gap.json"
ZOO = paths.RESULTS / "gap_zoo.json"
CHECKPOINTS = paths.RESULTS / "gap_checkpoints.json"
OURS = "cohaudit"
"""Method: a scan with its default settings."""
ALONE = "cohaudit, no outside predictions"
"""Method: the network's own layers and answers alone."""
CROSSFIT = "cohaudit, cross-fit"
"""Method: with the answers of five networks trained out of fold."""
REVIEWED = "cohaudit, 50 reviewed labels"
"""Method: after a review of fifty labels, whose answers are the truth."""
EARLIER = "cohaudit, with the earlier checkpoint"
"""Method: with the answers of the best epoch, for a checkpoint that fits its labels."""


@dataclass(frozen=True)
class Method:
    """An estimate of the accuracy.

    Attributes:
        name: Name.
        inputs: Columns that it is computed from.
        fitted: Whether it takes the log-odds of its inputs with fitted constants; else it is its only input.
        given: Whether it is of the accuracy against labels as given, wrong ones among them.
        as_they_are: Inputs that are no shares, so that no log-odds are taken.
        offset: Column that is added to the log-odds of the estimate; none if empty.
    """

    name: str
    inputs: tuple[str, ...]
    fitted: bool = True
    given: bool = False
    as_they_are: tuple[str, ...] = ()
    offset: str = ""


METHODS: tuple[Method, ...] = (
    Method(OURS, ("support",)),
    Method(ALONE, ("support_alone",)),
    Method(EARLIER, ("support_earlier",)),
    Method(REVIEWED, ("support",), offset="review_shift"),
    Method(CROSSFIT, ("support", "crossfit_right")),
    Method("support, nothing fitted", ("support",), fitted=False),
    Method("support by all layers, nothing fitted", ("support by all layers",), fitted=False),
    Method("former formula", ("former",), fitted=False),
    Method(
        "former formula refitted, no agreement",
        ("train_accuracy", "capped loss", "decades"),
        as_they_are=("capped loss", "decades"),
    ),
    Method("leave-one-out, first layer", ("leave-one-out, first layer",), fitted=False),
    Method("leave-one-out, best layer", ("leave-one-out, best layer",), fitted=False),
    Method("leave-one-out, last layer", ("leave-one-out, last layer",), fitted=False),
    Method("outside predictions", ("outside predictions",), fitted=False),
    Method("five folds", ("crossfit_given",), fitted=False),
    Method("mean confidence", ("mean confidence",), fitted=False),
    Method("training accuracy", ("train_accuracy",), fitted=False),
    Method(OURS, ("support_given",), given=True),
    Method(CROSSFIT, ("crossfit_given",), fitted=False, given=True),
    Method("leave-one-out, best layer", ("leave-one-out, best layer",), fitted=False, given=True),
    Method("training accuracy", ("train_accuracy",), fitted=False, given=True),
)
"""All estimates."""


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the checkpoints with the inputs of the former formula."""
    table = pd.DataFrame(list(rows))
    table["capped loss"] = np.minimum(table["loss"], np.log(table["classes"]))
    table["decades"] = np.log10(table["samples"].clip(*former.SAMPLES))
    table["former"] = [
        former.expected_accuracy(one["agreement"], one["loss"], one["samples"], one["classes"])
        for one in table.to_dict("records")
    ]
    return table


def known_for(method: Method, table: pd.DataFrame) -> tuple[Known, pd.DataFrame]:
    """Return the checkpoints that a method can be judged on, as it sees them, and their rows.

    Args:
        method: Method.
        table: All checkpoints.
    """
    truth = "accuracy_given" if method.given else "accuracy"
    own = table.dropna(subset=[truth, *method.inputs]).reset_index(drop=True)
    columns = [
        own[name].to_numpy(float)
        if name in method.as_they_are or not method.fitted
        else log_odds(own[name].to_numpy(float))
        for name in method.inputs
    ]
    return (
        Known(
            inputs=np.column_stack(columns),
            accuracy=own[truth].to_numpy(float),
            families=own["family"].to_numpy(str),
            groups=own["group"].to_numpy(str),
            offset=own[method.offset].to_numpy(float) if method.offset else np.zeros(len(own)),
            fitted=method.fitted,
        ),
        own,
    )


def rows_of(table: pd.DataFrame) -> Iterator[Row]:
    """Yield a row for each method and checkpoint, by constants that its family had no part in."""
    for method in METHODS:
        known, own = known_for(method, table)
        estimators: Sequence[Estimator] = known.left_out()
        if method.name == "former formula":
            estimators = [Estimator(np.empty(0), former.HALF_WIDTH)] * len(own)
        for k, (about, one) in enumerate(zip(own.to_dict("records"), estimators, strict=True)):
            score = float(one.estimate(known.inputs[k : k + 1], known.offset[k])[0])
            low, high = max(score - one.half_width, 0.0), min(score + one.half_width, 1.0)
            trained = about["train_accuracy"]
            names = ("dataset", "family", "kind", "noise", "wrong labels", "model", "stage", "seed")
            yield {name: about[name] for name in names} | {
                "labels": "given" if method.given else "right",
                "method": method.name,
                "left_out": about["family"],
                "train_accuracy": trained,
                **gap_figures(trained, Estimate(score, low, high), float(known.accuracy[k])),
                "told": bool(about["told"]),
            }


def gap_figures(trained: float, score: Estimate, accuracy: float) -> Row:
    """Return what a row says of the gap: training accuracy minus expected and true accuracy.

    Args:
        trained: Training accuracy.
        score: Accuracy expected on new data.
        accuracy: True accuracy on new data.
    """
    return {
        "predicted": trained - score.value,
        "low": trained - score.high,
        "high": trained - score.low,
        "true": trained - accuracy,
        "expected": score.value,
    }


def shipped(table: pd.DataFrame) -> dict[str, float]:
    """Return the constants that all families choose, by their names in `analysis.expected_score`."""
    chosen = {(one.name, one.given): known_for(one, table)[0].choose() for one in METHODS}
    ours, alone, copies, reviewed = (chosen[name, False] for name in (OURS, ALONE, CROSSFIT, REVIEWED))
    judged = table[(table["stage"] == "early")]
    errors = (judged["folds_judged"] - judged["folds_true"]).abs()
    return {
        "INTERCEPT": ours.constants[0],
        "SLOPE": ours.constants[1],
        "HALF_WIDTH": ours.half_width,
        "HALF_WIDTH_FEW": _half_width_of_few(table),
        "INTERCEPT_ALONE": alone.constants[0],
        "SLOPE_ALONE": alone.constants[1],
        "HALF_WIDTH_ALONE": alone.half_width,
        "INTERCEPT_CROSSFIT": copies.constants[0],
        "SLOPE_CROSSFIT": copies.constants[1],
        "OUT_OF_FOLD": copies.constants[2],
        "HALF_WIDTH_CROSSFIT": copies.half_width,
        "HALF_WIDTH_REVIEWED": reviewed.half_width,
        "HALF_WIDTH_GIVEN": chosen[OURS, True].half_width,
        "HALF_WIDTH_GIVEN_CROSSFIT": chosen[CROSSFIT, True].half_width,
        # 1.25 mean absolute deviations are a standard deviation of normal errors
        "JUDGED_ERROR": 1.25 * float(errors.groupby(judged["group"]).mean().median()),
    }


def _half_width_of_few(table: pd.DataFrame) -> float:
    """Return the half width for few samples, by the checkpoints and by the networks of other recipes."""
    known, own = known_for(METHODS[0], table)
    some = (own["samples"] <= FEW_SAMPLES).to_numpy()
    errors = np.abs(known.each_left_out(lambda rest: rest.constants()) - known.accuracy)[some]
    others = [row for row in read_rows(ZOO) if row["samples"] <= FEW_SAMPLES]
    off = [abs(row["predicted"] - row["true"]) for row in others]
    groups = [*known.groups[some], *(f"zoo {row['family']}" for row in others)]
    return half_width(np.concatenate([errors, off]), np.array(groups))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code, 1 if no run was trained."""
    args = make_parser(__doc__, show=True).parse_args(arguments)
    console = Console(width=190)
    if not args.show:
        found = list(measured())
        if not found:
            console.print("no run is in benchmarks/.cache/verdicts: run benchmarks.verdicts first")
            return 1
        write_rows(CHECKPOINTS, [_rounded(one) for one in found])
        write_rows(RESULTS, [_rounded(one) for one in rows_of(table_of(read_rows(CHECKPOINTS)))])
    show(read_rows(RESULTS), console)
    for name, value in shipped(table_of(read_rows(CHECKPOINTS))).items():
        console.print(f"by all families: {name} {value:.3f}")
    return 0


def _rounded(row: Row) -> Row:
    """Return a row with six decimals: more would be noise."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


if __name__ == "__main__":
    raise SystemExit(main())
