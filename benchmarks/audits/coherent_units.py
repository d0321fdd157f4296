"""Which units keep what a network learned? Those with the most coherent gradients, against other choices.

    python -m benchmarks.audits.coherent_units --data-dir DATA   measure, write results/coherent_units.json
    python -m benchmarks.audits.coherent_units --show            print what was written

Networks of the zoo (see zoo.py, which trains them), four of each family that predict their training labels.
The sizes of the sub-networks are those that hold 90 and 99 % of what samples of one class have in common; of
these sizes, layer by layer, the units are chosen by that energy, by what all pairs of samples have in common,
by the sum of squared gradients, by the norm of their weights, and at random (mean of three). Training and
test accuracy, with all other hidden units silent, over those of the whole network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.generalization import zoo
from benchmarks.shared import paths
from cohaudit.audits.unit_ablation import HiddenUnits, hidden_units, measured_units, only
from cohaudit.audits.width import SHARES, smallest_set
from cohaudit.config import Config
from cohaudit.gradients import Source, WeightSums, weight_sums
from cohaudit.pipeline.scan import options_of

RESULTS = paths.RESULTS / "coherent_units.json"
FAMILIES = (
    *("digits MLP", "digits CNN", "fashion MLP", "fashion CNN", "fashion ResNet"),
    *("cifar CNN", "cifar ResNet"),
)
EACH, SAMPLES, TEST, DRAWS = 4, 1000, 1000, 3
TRAINED = 0.5
"""Training accuracy from which a network is of interest."""
CHOICES = ("within classes", "all pairs", "squares", "weights", "random")

Row = dict[str, Any]
ResumeState = Mapping[str, NDArray[np.int64]]


def chosen(family: str) -> list[zoo.Member]:
    """Return some trained members of a family, evenly spaced on its walk."""
    own = [member for member in zoo.members() if member.family == family]
    told = [json.loads((zoo.CACHE / f"{one.key}.json").read_text(encoding="utf-8")) for one in own]
    fit = [one for one, facts in zip(own, told, strict=True) if facts["train_accuracy"] >= TRAINED]
    return [fit[i] for i in np.linspace(0, len(fit) - 1, EACH).astype(int)]


def measure(member: zoo.Member, folder: Path) -> list[Row]:
    """Return a row for each share and choice."""
    data = zoo.given(member, folder)
    x, y = data.train[:SAMPLES], data.labels[:SAMPLES]
    model = zoo.load(member, tuple(x.shape[1:]), data.classes)
    source = Source(
        lambda indices: x[list(indices)],
        y.numpy(),
        [str(i) for i in range(len(y))],
        [str(c) for c in range(data.classes)],
    )
    sums = weight_sums(model, source, options_of(Config()), torch.device("cpu"), lambda count: None)
    layers = hidden_units(model, sums)
    measured = measured_units(layers, sums)
    test = data.test[:TEST], data.test_labels[:TEST]

    def accuracies(kept: ResumeState) -> NDArray[np.float64]:
        with only(model, layers, kept):
            return np.array([zoo.measured(model, *part)[1] for part in ((x, y), test)])

    whole = accuracies({layer.name: np.arange(layer.count) for layer in layers})
    rng, rows = np.random.default_rng(0), []
    for share in SHARES:
        sizes = {one.name: len(smallest_set(one.energy, share)) for one in measured}
        about = {"network": member.key, "family": member.family, "share": share}
        about |= {"width": member.width, "noise": member.noise, "units": sum(layer.count for layer in layers)}
        about |= {"kept": sum(sizes.values()), "train": float(whole[0]), "test": float(whole[1])}
        about["participation"] = [one.participation for one in measured]
        for choice in CHOICES:
            draws = [
                {one.name: best(one, model, sums, choice, sizes[one.name], rng) for one in layers}
                for _ in range(DRAWS if choice == "random" else 1)
            ]
            train, held = np.mean([accuracies(kept) for kept in draws], axis=0).tolist()
            rows.append(about | {"choice": choice, "train alone": train, "test alone": held})
    return rows


def best(
    layer: HiddenUnits, model: nn.Module, sums: WeightSums, choice: str, size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the units of a layer that a choice ranks first."""
    m = sums.samples
    scores = np.zeros(layer.count)
    for name in layer.parameters:
        squares = m * sums.mean_square[name]
        weights = model.get_parameter(name).detach().double()
        values = {
            "within classes": sums.class_squares[name] - rows_of(squares),
            "all pairs": rows_of((m * sums.mean[name]).square() - squares),
            "squares": rows_of(squares),
            "weights": rows_of(weights.square()),
            "random": torch.zeros(len(weights)),
        }[choice]
        np.add.at(scores, layer.unit, values.numpy())
    if choice == "random":
        scores = rng.permutation(layer.count).astype(float)
    return np.argsort(-scores, kind="stable")[:size]


def rows_of(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of each row, [rows]."""
    return values.reshape(len(values), -1).sum(1)


def show(rows: list[Row]) -> None:
    """Print, per family and share, how much of the accuracy each choice keeps."""
    for share in SHARES:
        for family in (*FAMILIES, ""):
            own = [row for row in rows if row["share"] == share and row["family"].startswith(family)]
            told = ", ".join(f"{choice} {_kept(own, choice)}" for choice in CHOICES)
            units = np.mean([row["kept"] / row["units"] for row in own])
            print(f"{share:.0%} {family or 'all'}: {units:.0%} of the units, train / test: {told}")
    for family in FAMILIES:
        own = [row for row in rows if row["family"] == family and row["choice"] == "random"]
        spread = {row["network"]: (row["width"], float(np.mean(row["participation"]))) for row in own}
        told = ", ".join(f"{width}: {value:.2f}" for width, value in sorted(spread.values()))
        print(f"{family}: participation by width level: {told}")


def _kept(rows: list[Row], choice: str) -> str:
    some = [row for row in rows if row["choice"] == choice]
    kept = (np.mean([row[f"{part} alone"] / row[part] for row in some]) for part in ("train", "test"))
    return " / ".join(f"{value:.2f}" for value in kept)


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data")
    parser.add_argument("--zoo", type=Path, default=zoo.CACHE, help="folder of the trained networks")
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    zoo.CACHE = args.zoo
    if not args.show:
        torch.set_num_threads(1)
        rows = [row for family in FAMILIES for one in chosen(family) for row in measure(one, args.data_dir)]
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
    show(json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
