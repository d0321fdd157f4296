"""Which units hold what a network learned? Those with the most coherent gradients, against other choices.

    python -m benchmarks.audits.coherent_units --data-dir DIR   train what is missing (20 minutes), measure,
                                                                and write results/coherent_units.json
    python -m benchmarks.audits.coherent_units --show           show the saved results

Networks of `benchmarks.generalization.zoo`: four of each family that predict their training labels, by the
training accuracies that are saved with the zoo's results. The sizes of the sub-networks are those that hold
90 and 99 % of what samples of one class have in common. For each size, layer by layer, the units are chosen
by that energy, by what all pairs of samples have in common, by the sum of squared gradients, by the norm of
their weights, and at random (mean of three).
Measured: training and test accuracy with all other hidden units silent, over those of the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.generalization import zoo
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_json, read_rows, write_rows
from cohaudit.audits.unit_ablation import HiddenUnits, hidden_units, measured_units, only
from cohaudit.gradients import WeightSums, weight_sums
from cohaudit.results.sub_network import SUB_NETWORK_SHARES, smallest_set

RESULTS = paths.RESULTS / "coherent_units.json"
FAMILIES = (
    *("digits MLP", "digits CNN", "fashion MLP", "fashion CNN", "fashion ResNet"),
    *("cifar CNN", "cifar ResNet"),
)
"""Families of the zoo that are measured."""
MEMBERS_PER_FAMILY = 4
"""Networks of each family."""
SAMPLES = 1000
"""Training samples."""
TEST = 1000
"""Test samples."""
DRAWS = 3
"""Random choices of units, whose mean counts."""
MIN_ACCURACY = 0.5
"""Training accuracy from which on a network is measured."""
CHOICES = ("within classes", "all pairs", "squares", "weights", "random")

UnitChoice = Mapping[str, NDArray[np.int64]]
"""Units chosen of each layer."""


def members_of(family: str) -> list[zoo.Member]:
    """Return some members of a family that predict their training labels, evenly spaced on its walk."""
    accuracy = {row["model"]: row["train_accuracy"] for row in read_json(paths.RESULTS / "risk.json")}
    own = [member for member in zoo.members() if member.family == family]
    fit = [one for one in own if accuracy.get(one.key, 0.0) >= MIN_ACCURACY]
    return [fit[i] for i in np.linspace(0, len(fit) - 1, MEMBERS_PER_FAMILY).astype(int)]


def measure(member: zoo.Member, folder: Path) -> list[Row]:
    """Return a row for each share and choice."""
    zoo.make(member, folder)
    data = zoo.given(member, folder)
    x = data.train[:SAMPLES]
    y = data.labels[:SAMPLES]
    model = zoo.load(member, tuple(x.shape[1:]), data.classes)
    sums = weight_sums(model, source_of(x, y, data.classes), default_options(), CPU, silent)
    layers = hidden_units(model, sums)
    measured = measured_units(layers, sums)
    test = data.test[:TEST], data.test_labels[:TEST]

    def accuracies(units: UnitChoice) -> NDArray[np.float64]:
        with only(model, layers, units):
            return np.array([zoo.measured(model, *part)[1] for part in ((x, y), test)])

    whole = accuracies({layer.name: np.arange(layer.count) for layer in layers})
    rng = np.random.default_rng(0)
    rows = []
    for share in SUB_NETWORK_SHARES:
        sizes = {one.name: len(smallest_set(one.energy, share)) for one in measured}
        about = {"network": member.key, "family": member.family, "share": share}
        about |= {"width": member.width, "noise": member.noise, "units": sum(layer.count for layer in layers)}
        about |= {"kept": sum(sizes.values()), "train": float(whole[0]), "test": float(whole[1])}
        about["participation"] = [one.participation for one in measured]
        for choice in CHOICES:
            draws = [
                {one.name: ranked_units(one, model, sums, choice, rng)[: sizes[one.name]] for one in layers}
                for _ in range(DRAWS if choice == "random" else 1)
            ]
            train, held = np.mean([accuracies(units) for units in draws], axis=0).tolist()
            rows.append(about | {"choice": choice, "train alone": train, "test alone": held})
    return rows


def ranked_units(
    layer: HiddenUnits, model: nn.Module, sums: WeightSums, choice: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the units of a layer in the order of a choice, the best first."""
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
    return np.argsort(-scores, kind="stable")


def rows_of(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of each row, [rows]."""
    return values.reshape(len(values), -1).sum(1)


def show(rows: list[Row]) -> None:
    """Print, per family and share, how much of the accuracy each choice keeps."""
    for share in SUB_NETWORK_SHARES:
        for family in (*FAMILIES, ""):
            own = [row for row in rows if row["share"] == share and row["family"].startswith(family)]
            parts = ", ".join(f"{choice} {_remaining(own, choice)}" for choice in CHOICES)
            units = np.mean([row["kept"] / row["units"] for row in own])
            print(f"{share:.0%} {family or 'all'}: {units:.0%} of the units, train / test: {parts}")
    for family in FAMILIES:
        own = [row for row in rows if row["family"] == family and row["choice"] == "random"]
        spread = {row["network"]: (row["width"], float(np.mean(row["participation"]))) for row in own}
        levels = ", ".join(f"{width}: {value:.2f}" for width, value in sorted(spread.values()))
        print(f"{family}: participation by width level: {levels}")


def _remaining(rows: list[Row], choice: str) -> str:
    some = [row for row in rows if row["choice"] == choice]
    shares = (np.mean([row[f"{part} alone"] / row[part] for row in some]) for part in ("train", "test"))
    return " / ".join(f"{value:.2f}" for value in shares)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--zoo", type=Path, default=zoo.CACHE, help="folder of the trained networks")
    args = parser.parse_args(arguments)
    zoo.CACHE = args.zoo
    if not args.show:
        torch.set_num_threads(1)
        chosen = [member for family in FAMILIES for member in members_of(family)]
        rows: list[Row] = []
        for member in chosen:
            rows += measure(member, args.data_dir)
            print(member.key, flush=True)
        write_rows(RESULTS, rows)
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
