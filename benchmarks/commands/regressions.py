"""How often does `cohaudit diff` call a regression that is none, and how often does it miss one?

    python -m benchmarks.commands.regressions          train, scan, compare, write results/regressions.json
    python -m benchmarks.commands.regressions --show   show the saved results

Small networks on digits, clothes, a table and questions, 5 to 30 % of their labels wrong, two draws of
samples and labels each, from twelve seeds of weights and order: no two of one draw differ in anything that
matters. Then, from other seeds: with as many other wrong labels, which matters neither; with 3 % more wrong
labels; and with a network too narrow to do as well. Every audit of a draw is compared, as head, with each of
the twelve as base. Weights and audits are saved in benchmarks/.cache/regressions.

Beside them, the best checkpoint of each run of `benchmarks.verdicts` is compared with the one that fits the
labels, by the expected scores in results/gap.json, whose constants were chosen without the data set's family.
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
from benchmarks.shared.command_line import check_data_dir, make_parser
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
from cohaudit.review.diff.verdict_changes import SCORE_BOUND

RESULTS = paths.RESULTS / "regressions.json"
GAP = paths.RESULTS / "gap.json"
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
CHANCE = 0.05
"""Share of the pairs of one recipe that may be called a regression."""
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


def _exchanged(truth: torch.Tensor, labels: torch.Tensor, classes: int, seed: int) -> torch.Tensor:
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
    labels = found.labels
    return {
        "kind": head[0],
        "base": base[1],
        "head": head[1],
        "base_test": own[base][1],
        "head_test": own[head][1],
        "score_rise": _rise(found.score),
        "share_rise": _rise(found.wrong_labels),
        "changed": None if labels is None else [labels.changed, labels.worse, labels.better],
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
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in (SAME, OTHER, NOISIER)}
    kinds["narrow network, 3 points lost"] = [
        row for row in rows if row["kind"] == NARROW and is_real_loss(row)
    ]
    return {
        kind: (
            len(own),
            float(np.mean([row["regressions"] > 0 for row in own])) if own else math.nan,
            *(float(np.mean([name in row["by"] for row in own])) if own else math.nan for name in REASONS),
        )
        for kind, own in kinds.items()
    }


def show(rows: Sequence[Row], runs: Sequence[Row]) -> None:
    """Print how often each kind of pair is called a regression, on each data set and on all.

    Args:
        rows: Pairs of audits.
        runs: Checkpoints of `benchmarks.verdicts` with their expected scores.
    """
    names = ", ".join(REASONS)
    print(f"share of pairs called a regression (by {names})")
    for data in (*_data_sets(rows), "all"):
        own = [row for row in rows if data in {row["data"], "all"}]
        for kind, (count, whole, *by) in shares(own).items():
            parts = ", ".join(f"{part:.0%}" for part in by)
            print(f"{data:10} {kind:30} {count:5} pairs  {whole:6.1%}  ({parts})")
    print(f"\nbound of the score that {1 - CHANCE:.0%} of the pairs of one recipe stay within")
    print(f"{'all':10} {bound(rows):.4f}")
    for data in _data_sets(rows):
        left_out = bound([row for row in rows if row["data"] != data])
        own = [row["score_rise"] for row in rows if row["data"] == data and row["kind"] == SAME]
        beyond = float(np.mean(np.array(own) <= -left_out))
        print(f"without {data:10} {left_out:.4f}, which {beyond:.1%} of its own pairs go beyond")
    lost = overtrained(runs)
    called = [row["score_rise"] <= -SCORE_BOUND for row in lost]
    print(f"\ntrained on from the best checkpoint, 3 points lost: {len(lost)} runs of")
    print(f"{len({row['family'] for row in lost})} families; {np.mean(called):.1%} called a regression")


def overtrained(runs: Sequence[Row]) -> list[Row]:
    """Return what training on, from the best checkpoint to the one that fits the labels, did where it lost.

    Args:
        runs: Rows of results/gap.json. Only real data are taken.
    """
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in runs:
        if (row["method"], row["labels"]) == ("cohaudit", "right") and row["kind"] != "synthetic":
            key = tuple(str(row[name]) for name in ("dataset", "noise", "model", "seed"))
            found.setdefault(key, {})[row["stage"]] = row
    both = [one for one in found.values() if len(one) == 2]
    moved = [
        {
            "family": one["early"]["family"],
            "score_rise": one["interpolated"]["expected"] - one["early"]["expected"],
            "true_rise": _true_score(one["interpolated"]) - _true_score(one["early"]),
        }
        for one in both
    ]
    return [row for row in moved if row["true_rise"] <= -REAL_LOSS]


def _true_score(row: Row) -> float:
    return float(row["train_accuracy"] - row["true"])


def _data_sets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["data"] for row in rows))


def bound(rows: Sequence[Row]) -> float:
    """Return what the score falls less than, of two runs of one recipe, but for `CHANCE` of the pairs.

    Every data set counts the same: the largest of their quantiles.
    """
    quantiles = []
    for data in _data_sets(rows):
        own = [row["score_rise"] for row in rows if row["data"] == data and row["kind"] == SAME]
        # both directions of a pair are among them
        quantiles.append(float(np.quantile(np.abs(own), 1 - 2 * CHANCE)))
    return max(quantiles, default=math.nan)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        check_data_dir(parser, args.data_dir)
        write_rows(RESULTS, compared(args.data_dir))
    show(read_rows(RESULTS), read_rows(GAP))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
