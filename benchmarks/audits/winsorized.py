"""Does stepping along a winsorized mean keep a network from memorizing wrong labels?

    python -m benchmarks.audits.winsorized          train, and write results/winsorized.json and .svg
    python -m benchmarks.audits.winsorized --show   show the saved results

A perceptron of two hidden layers of 64 units on 600 of scikit-learn's digits, of which 0, 25 or 50 % carry a
wrong label, is trained by plain SGD with batches of 60 until the mean fits the wrong labels. In each step,
every coordinate of the samples' gradients is clipped to its k-th smallest and largest value but k
(`cohaudit.gradients.robust`), for k = 2 and 8 of the 60; or the median of three is taken. After Chatterjee
(ICLR 2020, arXiv 2002.10657), who uses MNIST and three layers of 256 units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.figures import save_figure
from benchmarks.shared.label_noise import noisy_digits
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.gradients.robust import median_of_three_gradient, winsorized_gradient

RESULTS = paths.RESULTS / "winsorized.json"
NOISES = (0.0, 0.25, 0.5)
"""Shares of wrong labels."""
BATCH = 60
"""Batch size."""
TRAIN = 600
"""Number of training samples; the other digits are for testing."""
EPOCHS = 150
"""Passes over the data."""
RATE = 0.25
"""Learning rate."""
WIDTH = 64
"""Units of each hidden layer."""
LAST_EPOCHS = 10
"""Number of last epochs whose mean is printed."""
METHODS = {"mean": 0, "winsorized, 2 of 60": 2, "winsorized, 8 of 60": 8, "median of three": None}


def run(noise: float, method: str) -> list[Row]:
    """Train once; return a row per epoch."""
    generator = torch.Generator().manual_seed(1)
    x, truth, labels = noisy_digits(TRAIN, noise, generator)
    wrong = labels != truth[:TRAIN]
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    )
    rows = []
    for epoch in range(1, EPOCHS + 1):
        for chosen in torch.randperm(TRAIN, generator=generator).split(BATCH):
            _step(model, x[chosen], labels[chosen], METHODS[method])
        with torch.no_grad():
            given = model(x[:TRAIN]).argmax(1)
            test = model(x[TRAIN:]).argmax(1)
        memorized = float((given == labels)[wrong].double().mean()) if wrong.any() else None
        right = float((given == labels)[~wrong].double().mean())
        accuracy = float((test == truth[TRAIN:]).double().mean())
        about = {"noise": noise, "method": method, "epoch": epoch}
        rows.append(
            about | {"wrong labels fitted": memorized, "right labels fitted": right, "test": accuracy}
        )
    return rows


def _step(model: nn.Module, x: Tensor, y: Tensor, k: int | None) -> None:
    gradient: Mapping[str, Tensor]
    if k == 0:
        names, parameters = zip(*model.named_parameters(), strict=True)
        found = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
        gradient = dict(zip(names, found, strict=True))
    elif k is None:
        gradient = median_of_three_gradient(model, F.cross_entropy, x, y).gradient
    else:
        gradient = winsorized_gradient(model, F.cross_entropy, x, y, clip=k / BATCH).gradient
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.sub_(gradient[name], alpha=RATE)


def draw(rows: list[Row], path: Path) -> None:
    """Draw the share of wrong labels fitted and the test accuracy against the epochs."""
    figure, axes = plt.subplots(2, len(NOISES), figsize=(10, 5.5), sharex=True, layout="constrained")
    for column, noise in enumerate(NOISES):
        for method in METHODS:
            own = [one for one in rows if one["noise"] == noise and one["method"] == method]
            epochs = [one["epoch"] for one in own]
            axes[0][column].plot(epochs, [one["test"] for one in own], label=method)
            if noise:
                axes[1][column].plot(epochs, [one["wrong labels fitted"] for one in own])
        axes[0][column].set(title=f"{noise:.0%} wrong labels", ylim=(0.4, 1))
        axes[1][column].set(xlabel="epoch", ylim=(0, 1))
    axes[0][0].set_ylabel("test accuracy")
    axes[1][0].set_ylabel("wrong labels fitted")
    axes[0][0].legend(fontsize=7)
    save_figure(figure, path)


def show(rows: list[Row]) -> None:
    """Print the mean over the last epochs of each training run; single epochs fluctuate."""
    for noise in NOISES:
        for method in METHODS:
            own = [one for one in rows if one["noise"] == noise and one["method"] == method]
            test, right, wrong = (
                _late(own, name) for name in ("test", "right labels fitted", "wrong labels fitted")
            )
            best = max(one["test"] for one in own)
            print(
                f"{noise:.0%} wrong, {method}: fitted {wrong} of the wrong and {right} of the right labels, "
                f"test accuracy {test} (best epoch {best:.1%})"
            )


def _late(rows: list[Row], name: str) -> str:
    values = [one[name] for one in rows[-LAST_EPOCHS:] if one[name] is not None]
    return f"{sum(values) / len(values):.1%}" if values else "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        rows = [row for noise in NOISES for method in METHODS for row in run(noise, method)]
        write_rows(RESULTS, rows)
        draw(rows, RESULTS.with_suffix(".svg"))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
