"""Does weight decay drown what samples do not share where the decay audit says that it does?

    python -m benchmarks.audits.decay_sweep          train, and write results/decay_sweep.json
    python -m benchmarks.audits.decay_sweep --show   print what was written

A perceptron of two hidden layers of 128 units on 1,200 of scikit-learn's digits, of which 0 or 20 % carry a
wrong label, by plain SGD (rate 0.1, batches of 64) for 200 epochs, with eight weight decays. After 5, 50
and 200 epochs: what `cohaudit.audits.weight_decay` says, the share of the wrong and of the right labels
that are fitted, test accuracy.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.datasets import flat_digits
from cohaudit.audits.registry import layer_forces
from cohaudit.audits.weight_decay import background_force
from cohaudit.config import Config
from cohaudit.gradients import Source, weight_sums
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Skipped, TrainedDecay

RESULTS = paths.RESULTS / "decay_sweep.json"
NOISES, DECAYS = (0.2, 0.0), (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
TRAIN, BATCH, RATE, TOLD = 1200, 64, 0.1, (5, 50, 200)

Row = dict[str, Any]


def run(noise: float, decay: float) -> list[Row]:
    """Train once; return a row for each epoch of `TOLD`."""
    generator = torch.Generator().manual_seed(1)
    x, truth, labels = flat_digits(TRAIN, noise, generator)
    wrong = labels != truth[:TRAIN]
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    )
    optimizer, rows = torch.optim.SGD(model.parameters(), RATE, weight_decay=decay), []
    for epoch in range(1, TOLD[-1] + 1):
        for chosen in torch.randperm(TRAIN, generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), labels[chosen]).backward()
            optimizer.step()
        if epoch not in TOLD:
            continue
        with torch.no_grad():
            logits, test = model(x[:TRAIN]), model(x[TRAIN:]).argmax(1)
        fitted = (logits.argmax(1) == labels).double()
        row = {"noise": noise, "decay": decay, "epoch": epoch, "loss": F.cross_entropy(logits, labels).item()}
        row |= {"wrong fitted": float(fitted[wrong].mean()) if noise else None}
        row |= {"right fitted": float(fitted[~wrong].mean())}
        row |= {"test": float((test == truth[TRAIN:]).double().mean())}
        rows.append(row | audited(model, x[:TRAIN], labels, decay))
    return rows


def audited(model: nn.Module, x: Tensor, labels: Tensor, decay: float) -> Row:
    """Return what the audit says."""
    classes = [str(c) for c in range(10)]
    ids = [str(i) for i in range(len(labels))]
    source = Source(lambda indices: x[list(indices)], labels.numpy(), ids, classes)
    sums = weight_sums(model, source, options_of(Config()), torch.device("cpu"), lambda count: None)
    layers = layer_forces(model, sums)
    found = background_force(layers, sums.samples, TrainedDecay(decay, True, False))
    size = np.abs(np.concatenate([layer.weight for layer in layers]))
    pull = np.abs(np.concatenate([layer.mean for layer in layers]))
    about = {
        "decay wins": float((decay * size > pull).mean()),
        "ratio": decay * float(np.linalg.norm(size) / np.linalg.norm(pull)),
    }
    if isinstance(found, Skipped):
        return about | {"low": None, "high": None, "coherent": None}
    return about | {"low": found.l2.low, "high": found.l2.high, "coherent": found.coherent}


def show(rows: list[Row]) -> None:
    """Print a line for each training and epoch."""
    for row in rows:
        wrong = "none wrong" if row["wrong fitted"] is None else f"{row['wrong fitted']:.1%} of the wrong"
        told = "no weight is coherent"
        if row["low"] is not None:
            told = f"range {row['low']:.1e} to {row['high']:.1e}, coherent {row['coherent']:.0%}"
        print(
            f"{row['noise']:.0%} wrong, λ {row['decay']:g}, epoch {row['epoch']}: loss {row['loss']:.4f}, "
            f"fitted {wrong} and {row['right fitted']:.1%} of the right labels, test {row['test']:.1%}; "
            f"{told}, decay wins {row['decay wins']:.0%}, ‖λw‖/‖μ‖ {row['ratio']:.2f}"
        )


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    if not args.show:
        torch.set_num_threads(1)
        rows = [row for noise in NOISES for decay in DECAYS for row in run(noise, decay)]
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
    show(json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
