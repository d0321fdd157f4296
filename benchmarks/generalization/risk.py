"""How well the gap between training and test accuracy is told from a checkpoint and its training data.

    python -m benchmarks.generalization.zoo                        train the networks (two hours on two cores)
    python -m benchmarks.generalization.evidence                   measure them (an hour)
    python -m benchmarks.generalization.evidence --weightwatcher   if that is installed
    python -m benchmarks.generalization                            fit, test, and write results/risk.json
    python -m benchmarks.generalization --show                     print the tables of what was written

Half of the families are for fitting; all figures but those said to be of that half are of the other one,
which no constant of cohaudit was fitted to. The prediction in the table is that of
`cohaudit.analysis.generalization_gap` with the constants it has; what fitting them anew gives is printed
beside them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
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
from benchmarks.generalization.scores import conditional_information, coverage, granulated, kendall, spearman
from benchmarks.generalization.zoo import FACTORS, Member
from benchmarks.shared import paths
from cohaudit.analysis.generalization_gap import CLASS_HALF_WIDTH, HALF_WIDTH, class_agreement, predict_gap
from cohaudit.analysis.leave_one_out import suspect_labels_by
from cohaudit.analysis.sanity import check_sanity

RESULTS = paths.RESULTS
OURS = "predicted gap"
SKILLS = {
    "gradients": "leave-one-out margin, loss gradients",
    "hot gradients": "leave-one-out margin, loss gradients, T = 10",
    "jacobians": "leave-one-out margin, Jacobians",
}

Row = dict[str, Any]
Array = NDArray[np.float64]


def row(member: Member, folder: Path) -> tuple[Row, list[Row]] | None:
    """Return what is known of a member, and of each of its classes; None where it could not be measured."""
    path = CACHE / f"{member.key}.json"
    if not path.exists():
        return None
    facts = json.loads((zoo.CACHE / f"{member.key}.json").read_text())
    figures = json.loads(path.read_text())
    watched = CACHE / "weightwatcher" / f"{member.key}.json"
    figures |= json.loads(watched.read_text()) if watched.exists() else {}
    with np.load(CACHE / f"{member.key}.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    labels, predicted = kept["labels"], kept["predicted"]
    probability = kept["probability"].astype(np.float64)
    views = [kept[f"loo {k}"].astype(np.float64) for k in range(len(kept["layers"]))]
    found = suspect_labels_by(views, labels, probability)
    classes = probability.shape[1]
    names = [str(c) for c in range(classes)]
    loss = float(kept["loss"].mean())
    sanity = check_sanity(predicted, labels, names, loss, found.accuracy)
    gap = predict_gap(
        labels, predicted, found.expected_low_overfit, found.expected, mean_loss=loss, samples=len(labels)
    )
    right = _right(member, folder)
    halves = [facts["train_accuracy"] - float(right[part::2].mean()) for part in (0, 1)]
    measures = {name: value for name, value in figures.items() if not name.startswith("seconds")}
    measures |= _skills(kept) | {"mean support": -float(kept["support"].mean())}
    measures |= {"mean support, T = 10": -float(kept["hot support"].mean())}
    family = zoo.family_of(member)
    return (
        {
            "model": member.key,
            "family": member.family,
            "half": "fit" if family.fit else "unseen",
            "gap": facts["train_accuracy"] - facts["test_accuracy"],
            "auditable": sanity.auditable,
            OURS: gap.gap,
            "low": gap.gap - HALF_WIDTH,
            "high": gap.gap + HALF_WIDTH,
            "agreement": gap.agreement,
            "gap on one half of the test set": halves[0],
            "gap on the other half": halves[1],
            **{name: facts[name] for name in ("train_accuracy", "test_accuracy", "train_loss", "test_loss")},
            "classes": classes,
            "count": len(labels),
            "factors": {name: value for name, value in asdict(member).items() if name in FACTORS},
            **measures,
        },
        _class_rows(member, labels, predicted, found.expected, gap.classes, right, folder),
    )


def _right(member: Member, folder: Path) -> NDArray[np.bool_]:
    """Return which test samples a member predicts as labeled."""
    count = len(zoo.pool(zoo.family_of(member).data, folder).test_labels)
    return np.unpackbits(np.load(zoo.CACHE / f"{member.key}.npy"))[:count].astype(bool)


def _skills(kept: dict[str, Any]) -> Row:
    """Return what leave-one-out prediction alone tells: margins, and training accuracy less its accuracy."""
    labels = kept["labels"]
    rows, accuracy = np.arange(len(labels)), float(np.mean(kept["predicted"] == labels))
    found: Row = {}
    for name, words in SKILLS.items():
        scores = kept[f"loo {name}"].astype(np.float64)
        given = scores[rows, labels].copy()
        scores[rows, labels] = -np.inf
        found[words] = -float(np.mean(given - scores.max(1)))
    last = len(kept["layers"]) - 1
    for name, words in (("input", "input"), ("1", "first hidden layer"), (str(last), "penultimate layer")):
        scores = kept.get(f"loo {name}")
        if scores is not None:
            found[f"leave-one-out gap, {words}"] = accuracy - float(np.mean(scores.argmax(1) == labels))
    return found


def _class_rows(
    member: Member,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    expected: Array,
    gaps: Array,
    right: NDArray[np.bool_],
    folder: Path,
) -> list[Row]:
    truth = zoo.pool(zoo.family_of(member).data, folder).test_labels.numpy()
    return [
        {
            "model": member.key,
            "family": member.family,
            "half": "fit" if zoo.family_of(member).fit else "unseen",
            "class": c,
            "count": int((labels == c).sum()),
            "predicted": float(gaps[c]),
            "accuracy": float(np.mean(predicted[labels == c] == c)),
            "agreement": class_agreement(predicted, expected, c),
            "test_accuracy": float(right[truth == c].mean()),
            **{f"test_accuracy {k}": float(right[k::2][truth[k::2] == c].mean()) for k in (0, 1)},
        }
        for c in range(len(gaps))
        if np.isfinite(gaps[c])
    ]


def measures_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all measures, cohaudit's first."""
    known = set(asdict(zoo.members()[0])) | {
        *("model", "half", "gap", "auditable", "low", "high", "factors", "classes", "count"),
        *("gap on one half of the test set", "gap on the other half"),
        *("train_accuracy", "test_accuracy", "train_loss", "test_loss", "agreement"),
    }
    names = dict.fromkeys(name for one in rows for name in one if name not in known)
    return [OURS, *(name for name in names if name != OURS)]


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the audited networks as a table, with a column for each factor."""
    flat = [{**one, **one["factors"]} for one in rows if one["auditable"]]
    return pd.DataFrame(flat).drop(columns="factors")


def score(rows: Sequence[Row]) -> list[Row]:
    """Return every measure's scores on the unseen half, the best Kendall's τ first."""
    table = as_table(rows)
    unseen, fit = table[table["half"] == "unseen"], table[table["half"] == "fit"]
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
    told = [{name: None if cell != cell else cell for name, cell in one.items()} for one in value]
    return "[\n" + ",\n".join(json.dumps(one) for one in told) + "\n]"


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
    _show_classes(classes, {one["model"] for one in rows if one["auditable"]}, console)


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


def main() -> int:
    """Score the measures; 1 where networks are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--show", action="store_true", help="print what was written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    console, path = Console(), args.out / "risk.json"
    more = args.out / "risk_scores.json"
    if args.show:
        kept = json.loads(more.read_text())
        show(json.loads(path.read_text()), kept["classes"], kept["measures"], console)
        return 0
    found = [row(member, args.data_dir) for member in zoo.members()]
    rows = [one[0] for one in found if one]
    classes = [one for both in found if both for one in both[1]]
    if not rows:
        console.print("no network was measured: run zoo.py and risk_evidence.py first")
        return 1
    scored = score(rows)
    args.out.mkdir(exist_ok=True)
    path.write_text(_lines(rows) + "\n", encoding="utf-8")
    audited = {one["model"] for one in rows if one["auditable"]}
    fitted = fitted_constants(as_table(rows), class_table(classes, audited))
    kept = {"measures": scored, "classes": classes, "fitted": fitted}
    texts = (f"{json.dumps(name)}: {_lines(value)}" for name, value in kept.items())
    more.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")
    draw(args.out / "risk", as_table(rows), scored)
    show(rows, classes, scored, console)
    for name, value in kept["fitted"].items():
        console.print(f"fitted anew: {name} {value}")
    missing = len(found) - len(rows)
    if missing:
        console.print(f"{missing} of {len(found)} networks could not be measured")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
