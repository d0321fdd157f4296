"""Are the gradients of real labels more coherent than those of random ones, and when in training?

    python -m benchmarks.audits.real_vs_random          train, measure, write results/real_vs_random.*
    python -m benchmarks.audits.real_vs_random --show   print what was written

A CNN on 1,000 images of Fashion-MNIST and a ResNet-18 (of width 8) on 600 of CIFAR-10, each trained once on
the real labels and once on labels drawn at random, until 99.5 % of them are fitted. m-coherence of all
samples' gradients by `cohaudit.gradients`, of the whole and of each layer, before the first step and at about
a dozen points of the training. After Chatterjee & Zielinski, arXiv 2008.01217 and 2203.10036, who have
ImageNet and ResNets of full width.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.generalization.evidence import measured
from benchmarks.shared import paths
from benchmarks.shared.datasets import SOURCES
from benchmarks.shared.networks import resnet18

RESULTS = paths.RESULTS / "real_vs_random.json"
CLASSES, BATCH, FITTED = 10, 50, 0.995
NEARLY = 0.9
"""Share fitted on the way through an epoch from which on it is looked closer whether all is."""
MARKS = (0, 0.25, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
"""Epochs after which is measured; and once more where the labels are fitted, which ends the training."""
LABELS = ("real", "random")

Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is trained on what.

    Attributes:
        data: In `noisy.SOURCES`.
        samples: To train on.
        build: Makes the network.
        optimizer: Makes its optimizer.
        epochs: At most.
        seeds: Trainings.
    """

    data: str
    samples: int
    build: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    epochs: int
    seeds: int


def _cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    )


def _sgd(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), rate, momentum=0.9)


SUBJECTS = {
    "CNN, Fashion-MNIST": Subject("fashion", 1000, _cnn, _sgd(0.02), 96, 2),
    "ResNet-18, CIFAR-10": Subject("cifar", 600, lambda: resnet18(8, CLASSES), _sgd(0.02), 64, 1),
}


def track(name: str, kind: str, seed: int, folder: Path) -> Iterator[Row]:
    """Train once, and yield a row for each point of the training that is measured."""
    subject = SUBJECTS[name]
    count, data = subject.samples, SOURCES[subject.data](folder, seed)
    x, y = data.train[:count], data.truth[:count]
    generator = torch.Generator().manual_seed(seed)
    if kind == "random":
        y = torch.randint(CLASSES, (count,), generator=generator)
    torch.manual_seed(seed)
    model = subject.build()
    optimizer = subject.optimizer(model)
    order: list[Tensor] = []
    right = 0
    for step in range(subject.epochs * (count // BATCH) + 1):
        epoch = step * BATCH / count
        nearly = not order and right >= NEARLY * count
        if epoch in MARKS or (nearly and _accuracy(settled(model, x), x, y) >= FITTED):
            row = _row(settled(model, x), x, y)
            test = _accuracy(settled(model, x), data.test, data.test_labels) if kind == "real" else None
            yield {"network": name, "labels": kind, "seed": seed, "epoch": epoch} | row | {"test": test}
            if row["fitted"] >= FITTED:
                return
        if not order:
            order, right = list(torch.randperm(count, generator=generator).split(BATCH)), 0
        chosen = order.pop()
        logits = model(x[chosen])
        right += int((logits.argmax(1) == y[chosen]).sum())
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, y[chosen]).backward()
        optimizer.step()


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy in eval mode, its running statistics those of the data: in training they lag behind."""
    found = copy.deepcopy(model)
    norms = [module for module in found.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # plain mean over the batches
    if norms:
        with torch.no_grad():
            for part in x.split(BATCH):
                found(part)
    return found.eval()


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(
            torch.cat([(model(a).argmax(1) == b) for a, b in zip(x.split(250), y.split(250), strict=True)])
            .double()
            .mean()
        )


def _row(model: nn.Module, x: Tensor, y: Tensor) -> Row:
    found = measured(model, x, y, CLASSES)
    energy = found.squared_norms.sum(0)
    return {
        "fitted": float(np.mean(found.predicted == y.numpy())),
        "loss": float(found.loss.mean()),
        "m-coherence": float(found.total_squares.sum() / energy.sum()),
        "layers": {
            layer.name: float(found.total_squares[k] / energy[k]) if energy[k] else None
            for k, layer in enumerate(found.layers)
            if not layer.kind.startswith("BatchNorm")
        },
    }


def draw(rows: list[Row], path: Path) -> None:
    """Draw m-coherence and the share fitted against the epochs, and each layer's m-coherence as colors."""
    mpl.rcParams["svg.hashsalt"] = "cohaudit"
    figure, axes = plt.subplots(len(SUBJECTS), 3, figsize=(12, 7), layout="constrained")
    for line, name in zip(axes, SUBJECTS, strict=True):
        own = [row for row in rows if row["network"] == name]
        _draw_whole(line[0], own)
        line[0].set(title=name, ylabel="m-coherence")
        for axis, kind in zip(line[1:], LABELS, strict=True):
            some = [row for row in own if row["labels"] == kind and row["seed"] == 0]
            heat = np.array([list(row["layers"].values()) for row in some], dtype=float).T
            drawn = axis.imshow(
                np.maximum(heat, 0.1), norm=LogNorm(1, 100), cmap="viridis", aspect="auto", origin="lower"
            )
            axis.set_xticks(range(len(some)), [f"{row['epoch']:g}" for row in some], fontsize=7)
            axis.set(title=f"{kind} labels, by layer", xlabel="epoch")
            names = list(some[0]["layers"]) if len(heat) <= 8 else [str(k + 1) for k in range(len(heat))]
            axis.set_yticks(range(len(heat)), names, fontsize=7)
        figure.colorbar(drawn, ax=line[2], label="m-coherence")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw_whole(axis: Any, rows: list[Row]) -> None:
    share = axis.twinx()
    share.set(ylim=(0, 1.02), ylabel="share fitted (dotted)")
    axis.axhline(1, color="gray", lw=1, linestyle="--")
    for kind, color in zip(LABELS, ("C0", "C3"), strict=True):
        for seed in sorted({row["seed"] for row in rows}):
            own = [row for row in rows if row["labels"] == kind and row["seed"] == seed]
            epochs = [row["epoch"] for row in own]
            told = kind if seed == 0 else None
            axis.plot(epochs, [row["m-coherence"] for row in own], color=color, marker="o", ms=3, label=told)
            share.plot(epochs, [row["fitted"] for row in own], color=color, lw=1, linestyle=":")
    axis.set(xscale="symlog", yscale="log", xlabel="epoch")
    axis.legend(fontsize=8, loc="lower left")


def show(rows: list[Row]) -> None:
    """Print every point, with the layers of the smallest and the largest m-coherence."""
    for row in rows:
        known = {name: value for name, value in row["layers"].items() if value is not None}
        low, high = (choose(known, key=known.__getitem__) for choose in (min, max))
        print(
            f"{row['network']}, {row['labels']} labels, seed {row['seed']}, epoch {row['epoch']:5g}: "
            f"fitted {row['fitted']:6.1%}, loss {row['loss']:.4f}, m-coherence {row['m-coherence']:7.2f}, "
            f"from {known[low]:.2f} in {low} to {known[high]:.2f} in {high}"
        )


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    if not args.show:
        torch.set_num_threads(1)
        rows: list[Row] = []
        for name, subject in SUBJECTS.items():
            for seed in range(subject.seeds):
                for kind in LABELS:
                    for row in track(name, kind, seed, args.data_dir):
                        rows.append(row)
                        show([row])
                    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
                    RESULTS.write_text(text, encoding="utf-8")
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    if not args.show:
        draw(rows, RESULTS.with_suffix(".svg"))
    show(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
