"""How well the gap between training and test accuracy is predicted from a checkpoint and its training data.

    python -m benchmarks.generalization.zoo        first: train the networks (two hours on two cores)
    python -m benchmarks.generalization.evidence   second: measure them (an hour)
    python -m benchmarks.generalization            fit, test, and write results/risk.json
    python -m benchmarks.generalization --show     show the saved results

Half of the families are for fitting. All figures are of the other half, which no constant of cohaudit was
fitted to, except those marked as of the fit half. The predicted gap is that of the former formula
(`former`): outside predictions, which the present one needs, were not made of these networks. Newly fitted
constants are printed beside it. How the present formula does: `benchmarks.generalization.expected`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.generalization import zoo
from benchmarks.generalization.evidence import CACHE
from benchmarks.generalization.figures import draw
from benchmarks.generalization.fit import fitted_constants
from benchmarks.generalization.former import HALF_WIDTH, agreement, expected_accuracy
from benchmarks.generalization.scores import conditional_information, coverage, granulated, kendall, spearman
from benchmarks.generalization.zoo import FACTORS, Member
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_json, row_lines
from cohaudit.analysis.expected_score import ExpectedScore, around
from cohaudit.analysis.generalization_gap import CLASS_HALF_WIDTH, class_agreement, predict_gap
from cohaudit.analysis.leave_one_out import suspect_labels_by
from cohaudit.analysis.sanity import check_sanity
from cohaudit.analysis.score_rows import ScoreRows

OURS = "predicted gap"
"""Name of the former formula's measure."""
LEAVE_ONE_OUT_MARGINS = {
    "gradients": "leave-one-out margin, loss gradients",
    "hot gradients": "leave-one-out margin, loss gradients, T = 10",
    "jacobians": "leave-one-out margin, Jacobians",
}
"""Arrays of the evidence whose leave-one-out margin is a measure, and the measure's name."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What was measured of a member of the zoo.

    Attributes:
        member: Network of the zoo.
        facts: Its accuracies and losses.
        figures: Measures by name.
        arrays: Arrays per training sample.
        predicts_test: Which test samples it predicts as labeled, bool [test samples].
        truth: Labels of the test samples.
    """

    member: Member
    facts: Row
    figures: Row
    arrays: dict[str, NDArray[Any]]
    predicts_test: NDArray[np.bool_]
    truth: NDArray[np.int64]

    def about(self) -> Row:
        """Return what every row says of its network."""
        half = "fit" if zoo.family_of(self.member).fit else "unseen"
        return {"model": self.member.key, "family": self.member.family, "half": half}


def read_evidence(member: Member, folder: Path) -> Evidence | None:
    """Read what was measured of a member; None where it could not be measured.

    Args:
        member: Network of the zoo.
        folder: Folder of the data.
    """
    path = CACHE / f"{member.key}.json"
    if not path.exists():
        return None
    figures = read_json(path)
    watched = CACHE / "weightwatcher" / f"{member.key}.json"
    figures |= read_json(watched) if watched.exists() else {}
    with np.load(CACHE / f"{member.key}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    truth = zoo.pool(zoo.family_of(member).data, folder).test_labels.numpy()
    bits = np.unpackbits(np.load(zoo.CACHE / f"{member.key}.npy"))
    facts = read_json(zoo.CACHE / f"{member.key}.json")
    return Evidence(member, facts, figures, arrays, bits[: len(truth)].astype(bool), truth)


def rows_of(evidence: Evidence) -> tuple[Row, list[Row]]:
    """Return the row of a network, and a row for each of its classes."""
    arrays = evidence.arrays
    facts = evidence.facts
    labels = arrays["labels"]
    predicted = arrays["predicted"]
    probability = arrays["probability"].astype(np.float64)
    views = [arrays[f"loo {k}"].astype(np.float64) for k in range(len(arrays["layers"]))]
    found = suspect_labels_by(views, labels, probability)
    names = [str(c) for c in range(probability.shape[1])]
    loss = float(arrays["loss"].mean())
    sanity = check_sanity(predicted, labels, names, loss, found.accuracy)
    agreed = agreement(views, probability, labels)
    accuracy = around(expected_accuracy(agreed, loss, len(labels), len(names)), HALF_WIDTH)
    gap = predict_gap(
        labels, predicted, ExpectedScore(agreed, accuracy, accuracy, HALF_WIDTH), found.expected_by_layers
    )
    halves = [facts["train_accuracy"] - float(evidence.predicts_test[part::2].mean()) for part in (0, 1)]
    measures = {name: value for name, value in evidence.figures.items() if not name.startswith("seconds")}
    measures |= leave_one_out_measures(arrays) | {"mean support": -float(arrays["support"].mean())}
    measures |= {"mean support, T = 10": -float(arrays["hot support"].mean())}
    row = evidence.about() | {
        "gap": facts["train_accuracy"] - facts["test_accuracy"],
        "auditable": sanity.auditable,
        OURS: gap.gap.value,
        "low": gap.gap.value - HALF_WIDTH,
        "high": gap.gap.value + HALF_WIDTH,
        "agreement": agreed,
        "gap on one half of the test set": halves[0],
        "gap on the other half": halves[1],
        **{name: facts[name] for name in ("train_accuracy", "test_accuracy", "train_loss", "test_loss")},
        "classes": len(names),
        "count": len(labels),
        "factors": {name: value for name, value in asdict(evidence.member).items() if name in FACTORS},
        **measures,
    }
    return row, class_rows(evidence, found.expected_by_layers, gap.classes)


def leave_one_out_measures(arrays: dict[str, NDArray[Any]]) -> Row:
    """Return margins of leave-one-out prediction, and training accuracy minus its accuracy."""
    labels = arrays["labels"]
    rows = np.arange(len(labels))
    accuracy = float(np.mean(arrays["predicted"] == labels))
    found: Row = {}
    for name, words in LEAVE_ONE_OUT_MARGINS.items():
        scores = arrays[f"loo {name}"].astype(np.float64)
        given = scores[rows, labels].copy()
        scores[rows, labels] = -np.inf
        found[words] = -float(np.mean(given - scores.max(1)))
    last = len(arrays["layers"]) - 1
    for name, words in (("input", "input"), ("1", "first hidden layer"), (str(last), "penultimate layer")):
        scores = arrays.get(f"loo {name}")
        if scores is not None:
            found[f"leave-one-out gap, {words}"] = accuracy - float(np.mean(scores.argmax(1) == labels))
    return found


def class_rows(evidence: Evidence, expected: ScoreRows, gaps: Array) -> list[Row]:
    """Return a row for each class whose gap is predicted.

    Args:
        evidence: What was measured of the network.
        expected: Class probabilities expected of a network that did not see the sample, [samples, classes].
        gaps: Predicted gap of each class, NaN where there is none.
    """
    labels = evidence.arrays["labels"]
    predicted = evidence.arrays["predicted"]
    right = evidence.predicts_test
    truth = evidence.truth
    agreement = class_agreement(predicted, expected)
    return [
        {
            **evidence.about(),
            "class": c,
            "count": int((labels == c).sum()),
            "predicted": float(gaps[c]),
            "accuracy": float(np.mean(predicted[labels == c] == c)),
            "agreement": float(agreement[c]),
            "test_accuracy": float(right[truth == c].mean()),
            **{f"test_accuracy {k}": float(right[k::2][truth[k::2] == c].mean()) for k in (0, 1)},
        }
        for c in range(len(gaps))
        if np.isfinite(gaps[c])
    ]


def measures_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all measures, the former formula's first."""
    known = set(asdict(zoo.members()[0])) | {
        *("model", "half", "gap", "auditable", "low", "high", "factors", "classes", "count"),
        *("gap on one half of the test set", "gap on the other half"),
        *("train_accuracy", "test_accuracy", "train_loss", "test_loss", "agreement"),
    }
    names = dict.fromkeys(name for one in rows for name in one if name not in known)
    return [OURS, *(name for name in names if name != OURS)]


def audited_models(rows: Sequence[Row]) -> set[str]:
    """Return the names of the networks that can be audited."""
    return {row["model"] for row in rows if row["auditable"]}


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the audited networks as a table, with a column for each factor."""
    flat = [{**one, **one["factors"]} for one in rows if one["auditable"]]
    return pd.DataFrame(flat).drop(columns="factors")


def score(rows: Sequence[Row]) -> list[Row]:
    """Return every measure's scores on the unseen half, the best Kendall's τ first."""
    table = as_table(rows)
    unseen = table[table["half"] == "unseen"]
    fit = table[table["half"] == "fit"]
    scored = []
    for name in measures_of(rows):
        by_family = {family: kendall(part, name) for family, part in unseen.groupby("family")}
        by_factor = granulated(unseen, name, list(FACTORS))
        scored.append(
            {
                "measure": name,
                "tau": kendall(unseen, name),
                "spearman": spearman(unseen, name),
                "families": by_family,
                "factors": by_factor,
                "granulated": float(np.mean(list(by_factor.values()))),
                "information": conditional_information(unseen, name, list(FACTORS)),
                "tau, fit half": kendall(fit, name),
                "networks": int(unseen[name].notna().sum()),
            }
        )
    return sorted(scored, key=lambda one: -one["tau"])


def ceiling(table: pd.DataFrame) -> float:
    """Return τ between the gaps on two halves of the test set: what no measure can be expected to beat."""
    return kendall(table, "gap on one half of the test set", "gap on the other half")


def _lines(value: Any) -> str:
    """Return JSON with one item of a list a line; a score that is not defined is null."""
    if not isinstance(value, list):
        return json.dumps(value)
    return row_lines(
        {name: None if cell != cell else cell for name, cell in one.items()}  # NaN is not equal to itself
        for one in value
    )


def show(rows: Sequence[Row], classes: Sequence[Row], scored: Sequence[Row], console: Console) -> None:
    """Print what was measured."""
    table = as_table(rows)
    unseen = table[table["half"] == "unseen"]
    result = Table("measure", title=f"{len(unseen)} networks of families never fitted; larger is better")
    for name in ("τ", "Spearman", "granulated τ", "information %", "worst family τ", "fit half τ"):
        result.add_column(name, justify="right")
    for one in scored:
        worst = min(one["families"].values(), key=lambda tau: (np.isnan(tau), tau))
        figures = (
            one["tau"],
            one["spearman"],
            one["granulated"],
            one["information"],
            worst,
            one["tau, fit half"],
        )
        result.add_row(one["measure"], *(f"{value:.2f}" for value in figures))
    console.print(result)
    console.print(f"ceiling (τ between the gaps on two halves of the test set): {ceiling(unseen):.3f}")
    ours = next(one for one in scored if one["measure"] == OURS)
    for family, part in unseen.groupby("family"):
        off = (part[OURS] - part["gap"]).abs()
        inside = coverage(part["gap"], part["low"], part["high"])
        console.print(
            f"{family}: τ {ours['families'][family]:.3f} (ceiling {ceiling(part):.3f}), mean absolute error "
            f"{off.mean():.3f}, coverage {inside:.3f}, "
            f"gaps {part['gap'].min():.2f} to {part['gap'].max():.2f}"
        )
    for half, part in table.groupby("half"):
        error = part[OURS] - part["gap"]
        console.print(
            f"{half} half, {len(part)} networks: mean absolute error {error.abs().mean():.4f}, bias "
            f"{error.mean():+.3f}, coverage {coverage(part['gap'], part['low'], part['high']):.3f}"
        )
    console.print("granulated τ: " + ", ".join(f"{f} {tau:.2f}" for f, tau in ours["factors"].items()))
    left = [one["model"] for one in rows if not one["auditable"]]
    console.print(f"{len(left)} networks are not auditable, and have no prediction")
    _show_classes(classes, audited_models(rows), console)


def _show_classes(classes: Sequence[Row], audited: set[str], console: Console) -> None:
    table = class_table(classes, audited)
    for half, part in table.groupby("half"):
        several = [one for _, one in part.groupby("model") if len(one) > 2]
        within = np.nanmean([spearman(one, "predicted") for one in several])
        best = np.nanmean([spearman(one, "gap 0", "gap 1") for one in several])
        off = (part["predicted"] - part["gap"]).abs()
        console.print(
            f"classes, {half} half: rank correlation {spearman(part, 'predicted'):.3f} over all, "
            f"{within:.3f} within a network of ten classes (ceiling {best:.3f}), "
            f"mean absolute error {off.mean():.3f}, coverage {np.mean(off <= CLASS_HALF_WIDTH):.3f}"
        )


def class_table(classes: Sequence[Row], audited: set[str]) -> pd.DataFrame:
    """Return the classes of the audited networks, with the gaps on the test set and on its halves."""
    table = pd.DataFrame([one for one in classes if one["model"] in audited])
    gaps = {f"gap{k}": table["accuracy"] - table[f"test_accuracy{k}"] for k in ("", " 0", " 1")}
    return table.assign(**gaps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the measures; return the exit code, 1 if no network was measured."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--out", type=Path, default=paths.RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    console = Console()
    path = args.out / "risk.json"
    scores_path = args.out / "risk_scores.json"
    if args.show:
        saved = read_json(scores_path)
        show(read_json(path), saved["classes"], saved["measures"], console)
        return 0
    members = zoo.members()
    evidence = (read_evidence(member, args.data_dir) for member in members)
    pairs = [rows_of(one) for one in evidence if one]
    if not pairs:
        console.print("no network was measured: run benchmarks.generalization.zoo, then .evidence")
        return 1
    rows = [row for row, _ in pairs]
    classes = [row for _, own in pairs for row in own]
    scored = score(rows)
    fitted = fitted_constants(as_table(rows), class_table(classes, audited_models(rows)))
    args.out.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(rows) + "\n", encoding="utf-8")
    parts = {"measures": scored, "classes": classes, "fitted": fitted}
    texts = (f"{json.dumps(name)}: {_lines(value)}" for name, value in parts.items())
    scores_path.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")
    draw(args.out / "risk", as_table(rows), scored)
    show(rows, classes, scored, console)
    for name, value in fitted.items():
        console.print(f"newly fitted: {name} {value}")
    if len(rows) < len(members):
        console.print(f"{len(members) - len(rows)} of {len(members)} networks could not be measured")
    return 0
