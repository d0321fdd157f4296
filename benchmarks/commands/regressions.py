"""How often does `cohaudit diff` call a regression that is none, and how often does it miss one?

    python -m benchmarks.commands.regressions          train, scan, compare, write results/regressions.json
    python -m benchmarks.commands.regressions --show   show the saved results

Small networks on digits, clothes, a table and questions, 5 to 30 % of their labels wrong, two draws of
samples and labels each, from twelve seeds of weights and order: no two of one draw differ in anything that
matters. Then, from other seeds: with 3 % more wrong labels, and with a network too narrow to do as well.
Every audit of a draw is compared, as head, with each of the twelve as base. Weights and audits are saved in
benchmarks/.cache/regressions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData, flip_labels
from benchmarks.shared.recipes import perceptron
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy, train_epoch
from benchmarks.verdicts.networks import TextCNN
from benchmarks.verdicts.planted_noise import plant
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.results import Audit
from cohaudit.results.files import write_file
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import EstimateChange

RESULTS = paths.RESULTS / "regressions.json"
CACHE = paths.CACHE / "regressions"
SAMPLES = 1300
"""Training samples at most."""
TEST = 3000
"""Test samples at most."""
SAME = "same recipe"
NOISIER = "3% more wrong labels"
NARROW = "narrow network"
OTHER = "as many other wrong labels"
SEEDS = {SAME: range(12), NOISIER: range(12, 15), NARROW: range(15, 18), OTHER: range(18, 21)}
"""Kind of training run → seeds."""
MORE_WRONG = 0.03
"""Share of the labels that is wrong beyond those of the draw."""
DRAWS = (0, 1)
"""Seeds of the samples and the labels."""
EPOCHS = 40
"""Passes over the data."""
REAL_LOSS = 0.03
"""Loss of accuracy on new data that has to be noticed."""
CHANCE = 0.015
"""Share of pairs of one recipe that each of the three rules may call a regression: at most 5% together."""
REASONS = {
    "score": "The score on new data fell",
    "wrong labels": "More labels are wrong",
    "suspects": "new and",
}
"""Rule of a regression → words of its sentence."""
CELLS = (
    ("digits", "5 % uniform"),
    ("fashion", "30 % uniform"),
    ("adult", "15 % uniform"),
    ("trec", "15 % uniform"),
)
"""Data set and wrong labels."""


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        data: Data set.
        noise: Wrong labels; see `planted_noise.plant`.
        draw: Seed of the samples and labels.
        kind: A key of SEEDS.
        seed: Seed of weights and order.
    """

    data: str
    noise: str
    draw: int
    kind: str
    seed: int

    def file(self, suffix: str) -> Path:
        """Return the path of a saved file."""
        name = f"{self.data} {self.noise} {self.draw} {self.kind} {self.seed}"
        return CACHE / ("".join(c if c.isalnum() else "-" for c in name) + suffix)


def jobs() -> list[Job]:
    """Return all training runs."""
    return [
        Job(data, noise, draw, kind, seed)
        for data, noise in CELLS
        for draw in DRAWS
        for kind, seeds in SEEDS.items()
        for seed in seeds
    ]


def samples(job: Job, folder: Path) -> NoisyData:
    """Return a run's samples, and the labels that its network is given."""
    clean = DATA_SETS[job.data].load(folder, job.draw)
    some = torch.randperm(len(clean.truth), generator=torch.Generator().manual_seed(job.draw))[:SAMPLES]
    clean = replace(clean, train=clean.train[some], truth=clean.truth[some], human={})
    labels = plant(clean, job.noise, job.draw)
    if job.kind == NOISIER:
        generator = torch.Generator().manual_seed(7000 + job.draw)
        more = flip_labels(clean.truth, clean.classes, MORE_WRONG / (1 - _share(job)), generator)
        labels = torch.where(labels == clean.truth, more, labels)
    if job.kind == OTHER:
        labels = _exchanged(clean.truth, labels, clean.classes, 9000 + 100 * job.draw + job.seed)
    return NoisyData(
        clean.train, labels, clean.truth, clean.test[:TEST], clean.test_labels[:TEST], clean.classes
    )


def _exchanged(
    truth: torch.Tensor, labels: torch.Tensor, classes: int, seed: int
) -> torch.Tensor:
    """Return labels with some of the wrong ones corrected, and as many right ones made wrong."""
    generator = torch.Generator().manual_seed(seed)
    wrong, right = ((labels != truth).nonzero()[:, 0], (labels == truth).nonzero()[:, 0])
    count = round(MORE_WRONG * len(labels))
    corrected = wrong[torch.randperm(len(wrong), generator=generator)[:count]]
    spoiled = right[torch.randperm(len(right), generator=generator)[: len(corrected)]]
    labels = labels.clone()
    labels[corrected] = truth[corrected]
    labels[spoiled] = flip_labels(truth[spoiled], classes, 1.0, generator)
    return labels


def _share(job: Job) -> float:
    return float(job.noise.split()[0]) / 100


def build(job: Job, data: NoisyData) -> nn.Module:
    """Return the untrained network."""
    torch.manual_seed(1000 * job.draw + job.seed)
    narrow = job.kind == NARROW
    if job.data == "trec":
        width = 4 if narrow else 48
        return TextCNN(int(data.train.max()) + 1, data.classes, width, width)
    return perceptron(data.train[0].numel(), data.classes, 6 if narrow else 128)


def trained(job: Job, data: NoisyData) -> nn.Module:
    """Return the trained network, from disk if it was trained before."""
    model = build(job, data)
    file = job.file(".pt")
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(EPOCHS):
        train_epoch(model, optimizer, data.train, data.labels, 32)
    CACHE.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model


def audited(job: Job, folder: Path) -> tuple[Audit, float]:
    """Return a run's audit, and the accuracy of its network on test data."""
    data = samples(job, folder)
    model = trained(job, data)
    file = job.file(".json")
    if not file.exists():
        audit = cohaudit.scan(model, TensorDataset(data.train, data.labels), certificate_samples=2)
        write_file(file, audit_to_json(audit).encode())
    return read_audit(file), accuracy(model, data.test, data.test_labels)


def compared(folder: Path) -> Iterator[Row]:
    """Compare every audit with those of the same draw and the unchanged recipe."""
    for data, noise in CELLS:
        for draw in DRAWS:
            own = {
                (kind, seed): audited(Job(data, noise, draw, kind, seed), folder)
                for kind, seeds in SEEDS.items()
                for seed in seeds
            }
            bases = [key for key in own if key[0] == SAME]
            for base, head in itertools.product(bases, own):
                if base != head:
                    yield {"data": data, "noise": noise, "draw": draw} | _row(base, head, own)


def _row(
    base: tuple[str, int], head: tuple[str, int], own: dict[tuple[str, int], tuple[Audit, float]]
) -> Row:
    found = compare(own[base][0], own[head][0])
    suspects = found.suspects
    return {
        "kind": head[0],
        "base": base[1],
        "head": head[1],
        "base_test": own[base][1],
        "head_test": own[head][1],
        "score_rise": _rise(found.score),
        "share_rise": _rise(found.wrong_labels),
        "share": None if found.wrong_labels.base is None else found.wrong_labels.base.value,
        "surplus": None if suspects is None else (suspects.clear_new - suspects.clear_fixed) / SAMPLES,
        "headline": found.headline,
        "regressions": len(found.regressions),
        "by": [name for name, word in REASONS.items() if any(word in one for one in found.regressions)],
    }


def _rise(change: EstimateChange) -> float | None:
    if change.base is None or change.head is None:
        return None
    return change.head.value - change.base.value


def is_real_loss(row: Row) -> bool:
    """Return whether the head's network is worse on test data by as much as has to be noticed."""
    return bool(row["base_test"] - row["head_test"] >= REAL_LOSS)


def shares(rows: Sequence[Row]) -> dict[str, tuple[int, float, float, float, float]]:
    """Return, for each kind of pair: how many, and the share called a regression, whole and by reason."""
    kinds = {
        "same recipe": [row for row in rows if row["kind"] == SAME],
        "3% more wrong labels": [row for row in rows if row["kind"] == NOISIER],
        "3 points less accuracy on new data": [
            row for row in rows if row["kind"] == NARROW and is_real_loss(row)
        ],
    }
    return {
        kind: (
            len(own),
            float(np.mean([row["regressions"] > 0 for row in own])) if own else math.nan,
            *(float(np.mean([name in row["by"] for row in own])) if own else math.nan for name in REASONS),
        )
        for kind, own in kinds.items()
    }


def show(rows: Sequence[Row]) -> None:
    """Print how often each kind of pair is called a regression, on each data set and on all."""
    names = ", ".join(REASONS)
    print(f"share of pairs called a regression (by {names})")
    for data in (*dict.fromkeys(row["data"] for row in rows), "all"):
        own = [row for row in rows if data in {row["data"], "all"}]
        for kind, (count, whole, *by) in shares(own).items():
            parts = ", ".join(f"{part:.0%}" for part in by)
            print(f"{data:10} {kind:36} {count:5} pairs  {whole:6.1%}  ({parts})")
    print(
        f"\nbounds that {1 - CHANCE:.1%} of the pairs of one recipe stay within, and with a data set left out"
    )
    for name in ("score_rise", "share_rise", "surplus"):
        bounds = [bound([row for row in rows if row["data"] != data], name) for data in _data_sets(rows)]
        print(f"{name:12} {bound(rows, name):.4f}  {', '.join(f'{one:.4f}' for one in bounds)}")


def _data_sets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["data"] for row in rows))


def bound(rows: Sequence[Row], name: str) -> float:
    """Return what the difference of two runs of one recipe stays below, but for `CHANCE` of the pairs.

    Every data set counts the same: the largest of their quantiles.
    """
    found = []
    for data in _data_sets(rows):
        own = [
            row[name] for row in rows if row["data"] == data and row["kind"] == SAME and row[name] is not None
        ]
        if own:
            found.append(float(np.quantile(np.abs(own), 1 - 2 * CHANCE)))
    return max(found, default=math.nan)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        if not args.data_dir.is_dir():
            parser.error(f"{args.data_dir} does not exist: name the folder of the data with --data-dir")
        write_rows(RESULTS, compared(args.data_dir))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
