"""What do the intervals of coherence cover: redrawn samples, or new samples of a fitted network?

    python -m benchmarks.audits.coherence_intervals          train, write results/coherence_intervals.json
    python -m benchmarks.audits.coherence_intervals --show   show the saved results

Perceptrons on 600 of scikit-learn's digits with 0 or 20 % wrong labels, two seeds, after 5 epochs and after
100. The other 1,197 digits, with as many wrong labels, are samples of the same kind that no network was
trained on. Two questions, for α_u of the whole gradient, of each layer and of each class:

- redrawn: 60 times 150 new samples, or 40 of a class. How often does the interval contain α_u of all new
  ones?
- new: does the interval from the training samples contain α_u of the new samples?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import noisy_digits
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy, train_epoch
from cohaudit.analysis.coherence import Gradients, Resampling, interval_deviations, pairwise_coherence
from cohaudit.config import Config
from cohaudit.gradients import Measurement

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

RESULTS = paths.RESULTS / "coherence_intervals.json"
NOISES = (0.0, 0.2)
"""Shares of wrong labels."""
SEEDS = (0, 1)
"""Seeds of the flips and the weights."""
DIGITS = 1797
"""Number of digits."""
TRAIN = 600
"""Number of training samples; the other digits are new ones."""
EPOCHS = (5, 100)
"""Epochs after which the network is measured."""
BATCH = 50
"""Batch size."""
RATE = 1e-3
"""Learning rate of Adam."""
REDRAWS = 60
"""Draws of new samples."""
DRAWN = 150
"""New samples in a draw."""
DRAWN_OF_CLASS = 40
"""New samples of one class in a draw."""
CLASSES = 10
"""Classes of the digits."""


def run(noise: float, seed: int) -> Iterator[Row]:
    """Train once; yield a row for each stage and part of the gradient."""
    generator = torch.Generator().manual_seed(seed)
    # the labels of new samples are wrong as often: only then are they of the same kind
    x, _, labels = noisy_digits(DIGITS, noise, generator)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for epoch in range(1, EPOCHS[-1] + 1):
        train_epoch(model, optimizer, x[:TRAIN], labels[:TRAIN], BATCH, generator=generator)
        if epoch in EPOCHS:
            measured = measure_model(model, x, labels, CLASSES)
            about: Row = {"noise": noise, "seed": seed, "epoch": epoch}
            about["train"] = accuracy(model, x[:TRAIN], labels[:TRAIN])
            yield from (about | row for row in compare(measured, labels.numpy(), seed))


def compare(measured: Measurement, labels: Indices, seed: int) -> Iterator[Row]:
    """Yield a row for the whole gradient, each layer and each class."""
    parts = [layer.columns for layer in measured.layers]
    names = [*(f"layer {layer.name}" for layer in measured.layers), "whole"]
    old, new = np.arange(TRAIN), np.arange(TRAIN, len(labels))
    rng = np.random.default_rng(seed)
    draws = [rng.choice(new, DRAWN, replace=False) for _ in range(REDRAWS)]
    yield from _rows(measured, names, [*parts, slice(None)], (old, new), draws)
    for c in range(CLASSES):
        own, others = (part[labels[part] == c] for part in (old, new))
        draws = [rng.choice(others, DRAWN_OF_CLASS, replace=False) for _ in range(REDRAWS)]
        yield from _rows(measured, [f"class {c}"], [slice(None)], (own, others), draws)


def _rows(
    measured: Measurement,
    names: Sequence[str],
    parts: Sequence[slice],
    halves: tuple[Indices, Indices],
    draws: Sequence[Indices],
) -> Iterator[Row]:
    """Yield a row for each part: how often the intervals of the draws, and of the first half, hold."""
    old, new = halves
    expected = _pairwise(measured, new, parts)
    value = _pairwise(measured, old, parts)
    low, high = (value + _interval(measured, old, parts).T).tolist()
    inside = []
    for drawn in draws:
        ends = _pairwise(measured, drawn, parts) + _interval(measured, drawn, parts).T
        inside.append((ends[0] <= expected) & (expected <= ends[1]))
    for k, name in enumerate(names):
        yield {
            "part": name,
            "trained on": value[k],
            "low": low[k],
            "high": high[k],
            "new": expected[k],
            "redrawn": float(np.mean(inside, axis=0)[k]),
        }


def _interval(measured: Measurement, members: Indices, parts: Sequence[slice]) -> Array:
    """Return the ends of the intervals relative to their values, [parts, 2]."""
    config = Config()
    resampling = Resampling(config.bootstrap, config.confidence, config.seed)
    own = Gradients(measured.sketches, measured.scale, members)
    return interval_deviations(own, parts, resampling)[:-1]


def _pairwise(measured: Measurement, members: Indices, parts: Sequence[slice]) -> Array:
    """Return α_u of each part of the sketches, [parts]."""
    rows = np.asarray(measured.sketches[members], dtype=np.float64) * measured.scale[members, None]
    return np.array(
        [
            pairwise_coherence(
                float(np.square(rows[:, part].sum(0)).sum()), float(np.square(rows[:, part]).sum()), len(rows)
            )
            for part in parts
        ]
    )


def show(rows: list[Row]) -> None:
    """Print how often the intervals hold, by stage and kind of part."""
    for noise in NOISES:
        for epoch in EPOCHS:
            own = [row for row in rows if (row["noise"], row["epoch"]) == (noise, epoch)]
            accuracies = " and ".join(f"{value:.1%}" for value in sorted({row["train"] for row in own}))
            print(f"{noise:.0%} wrong, epoch {epoch} (training accuracy {accuracies})")
            for kind in ("whole", "layer", "class"):
                some = [row for row in own if row["part"].startswith(kind)]
                held = [row["low"] <= row["new"] <= row["high"] for row in some]
                above = sum(row["new"] > row["high"] for row in some)
                redrawn = np.mean([row["redrawn"] for row in some])
                print(
                    f"  {kind}: redrawn samples {redrawn:.0%}; from training samples {sum(held)} of "
                    f"{len(held)} contain the value of new ones, {above} lie below it"
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        write_rows(RESULTS, [row for noise in NOISES for seed in SEEDS for row in run(noise, seed)])
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
