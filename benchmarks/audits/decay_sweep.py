"""Does weight decay drown what samples do not share where the decay audit says that it does?

    python -m benchmarks.audits.decay_sweep          train, and write results/decay_sweep.json
    python -m benchmarks.audits.decay_sweep --show   show the saved results

A perceptron of two hidden layers of 128 units on 1,200 of scikit-learn's digits, of which 0 or 20 % carry a
wrong label, is trained by plain SGD (rate 0.1, batches of 64) for 200 epochs, with eight weight decays.
Measured after 5, 50 and 200 epochs: what `cohaudit.audits.weight_decay` says, the share of the wrong and of
the right labels that are fitted, and test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import noisy_digits
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import train_epoch
from cohaudit.audits.registry import layer_forces
from cohaudit.audits.weight_decay import background_force
from cohaudit.gradients import weight_sums
from cohaudit.results import Skipped, TrainedDecay

RESULTS = paths.RESULTS / "decay_sweep.json"
NOISES = (0.2, 0.0)
"""Shares of wrong labels."""
DECAYS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
"""Weight decays."""
TRAIN = 1200
"""Number of training samples; the other digits are for testing."""
BATCH = 64
"""Batch size."""
RATE = 0.1
"""Learning rate."""
EPOCHS = (5, 50, 200)
"""Epochs after which the network is measured."""


def run(noise: float, decay: float) -> list[Row]:
    """Train once; return a row for each epoch of EPOCHS."""
    generator = torch.Generator().manual_seed(1)
    x, truth, labels = noisy_digits(TRAIN, noise, generator)
    wrong = labels != truth[:TRAIN]
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    )
    optimizer = torch.optim.SGD(model.parameters(), RATE, weight_decay=decay)
    rows = []
    for epoch in range(1, EPOCHS[-1] + 1):
        train_epoch(model, optimizer, x[:TRAIN], labels, BATCH, generator=generator)
        if epoch not in EPOCHS:
            continue
        with torch.no_grad():
            logits = model(x[:TRAIN])
            test = model(x[TRAIN:]).argmax(1)
        fitted = (logits.argmax(1) == labels).double()
        row = {"noise": noise, "decay": decay, "epoch": epoch, "loss": F.cross_entropy(logits, labels).item()}
        row |= {"wrong fitted": float(fitted[wrong].mean()) if noise else None}
        row |= {"right fitted": float(fitted[~wrong].mean())}
        row |= {"test": float((test == truth[TRAIN:]).double().mean())}
        rows.append(row | audited(model, x[:TRAIN], labels, decay))
    return rows


def audited(model: nn.Module, x: Tensor, labels: Tensor, decay: float) -> Row:
    """Return what the audit says of a network."""
    sums = weight_sums(model, source_of(x, labels, 10), default_options(), CPU, silent)
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
    """Print a line for each training run and epoch."""
    for row in rows:
        wrong = "none wrong" if row["wrong fitted"] is None else f"{row['wrong fitted']:.1%} of the wrong"
        coherence = "no range: chance explains the coherent weights"
        if row["low"] is not None:
            coherence = f"range {row['low']:.1e} to {row['high']:.1e}, coherent {row['coherent']:.0%}"
        print(
            f"{row['noise']:.0%} wrong, λ {row['decay']:g}, epoch {row['epoch']}: loss {row['loss']:.4f}, "
            f"fitted {wrong} and {row['right fitted']:.1%} of the right labels, test {row['test']:.1%}; "
            f"{coherence}, decay wins {row['decay wins']:.0%}, ‖λw‖/‖μ‖ {row['ratio']:.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        write_rows(RESULTS, [row for noise in NOISES for decay in DECAYS for row in run(noise, decay)])
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
