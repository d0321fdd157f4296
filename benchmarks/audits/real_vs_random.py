"""Are the gradients of real labels more coherent than those of random ones, and when in training?

    python -m benchmarks.audits.real_vs_random          train, measure, write results/real_vs_random.*
    python -m benchmarks.audits.real_vs_random --show   show the saved results

A CNN on 1,000 images of Fashion-MNIST and a ResNet-18 (of width 8) on 600 of CIFAR-10, each trained once on
the real labels and once on labels drawn at random, until 99.5 % of them are fitted. The m-coherence of all
samples' gradients, of the whole network and of each layer, is measured before the first step and at about a
dozen points of the training run. After Chatterjee & Zielinski, arXiv 2008.01217 and 2203.10036, who use
ImageNet and ResNets of full width.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import SOURCES
from benchmarks.shared.figures import save_figure
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.networks import resnet18
from benchmarks.shared.recipes import cnn
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy

RESULTS = paths.RESULTS / "real_vs_random.json"
CLASSES = 10
"""Classes of both data sets."""
BATCH = 50
"""Batch size."""
FITTED = 0.995
"""Share of the labels fitted that ends a training run."""
NEARLY_FITTED = 0.9
"""Share of right predictions during an epoch from which on all labels are checked after it."""
MARKS = (0, 0.25, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
"""Epochs after which the network is measured; the end of the training run is measured too."""
LABELS = ("real", "random")


@dataclass(frozen=True)
class Subject:
    """A network, its data, and how it is trained.

    Attributes:
        data: Name of the data set, in SOURCES.
        samples: Number of training samples.
        build: Makes the untrained network.
        optimizer: Makes its optimizer.
        epochs: Largest number of epochs.
        seeds: Number of seeds.
    """

    data: str
    samples: int
    build: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    epochs: int
    seeds: int


def _sgd(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), rate, momentum=0.9)


SUBJECTS = {
    "CNN, Fashion-MNIST": Subject("fashion", 1000, lambda: cnn(28, 1, CLASSES), _sgd(0.02), 96, 2),
    "ResNet-18, CIFAR-10": Subject("cifar", 600, lambda: resnet18(8, CLASSES), _sgd(0.02), 64, 1),
}


def track(name: str, kind: str, seed: int, folder: Path) -> Iterator[Row]:
    """Train once, and yield a row for each point of the training that is measured."""
    subject = SUBJECTS[name]
    count = subject.samples
    data = SOURCES[subject.data](folder, seed)
    x = data.train[:count]
    y = data.truth[:count]
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
        nearly = not order and right >= NEARLY_FITTED * count
        if epoch in MARKS or (nearly and accuracy(settled(model, x), x, y) >= FITTED):
            row = _row(settled(model, x), x, y)
            test = accuracy(settled(model, x), data.test, data.test_labels) if kind == "real" else None
            yield {"network": name, "labels": kind, "seed": seed, "epoch": epoch} | row | {"test": test}
            if row["fitted"] >= FITTED:
                return
        if not order:
            order = list(torch.randperm(count, generator=generator).split(BATCH))
            right = 0
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
        module.momentum = None  # None: plain mean over the batches
    if norms:
        with torch.no_grad():
            for part in x.split(BATCH):
                found(part)
    return found.eval()


def _row(model: nn.Module, x: Tensor, y: Tensor) -> Row:
    found = measure_model(model, x, y, CLASSES)
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
    save_figure(figure, path)


def _draw_whole(axis: Any, rows: list[Row]) -> None:
    share = axis.twinx()
    share.set(ylim=(0, 1.02), ylabel="share fitted (dotted)")
    axis.axhline(1, color="gray", lw=1, linestyle="--")
    for kind, color in zip(LABELS, ("C0", "C3"), strict=True):
        for seed in sorted({row["seed"] for row in rows}):
            own = [row for row in rows if row["labels"] == kind and row["seed"] == seed]
            epochs = [row["epoch"] for row in own]
            label = kind if seed == 0 else None
            axis.plot(epochs, [row["m-coherence"] for row in own], color=color, marker="o", ms=3, label=label)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        rows: list[Row] = []
        for name, subject in SUBJECTS.items():
            for seed, kind in itertools.product(range(subject.seeds), LABELS):
                rows += track(name, kind, seed, args.data_dir)
                write_rows(RESULTS, rows)
        draw(rows, RESULTS.with_suffix(".svg"))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
