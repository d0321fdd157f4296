"""How well is the energy Σ‖g‖² estimated from the gradients of a few samples?

    python -m benchmarks.gradients.energy --data-dir DIR                    all networks
    python -m benchmarks.gradients.energy --networks "CNN, 25 epochs"       one of them; the others stay
    python -m benchmarks.gradients.energy --show                            show the saved results

Sums of gradients come from a plain backward pass, but the sum of their squared norms needs each sample's
gradient. Some samples are drawn without replacement, each with a probability π that is known before, and
Σ‖g‖² / π over them estimates the sum over all (Horvitz & Thompson 1952). The errors are relative, beside all
samples' exact norms, of the energies of the whole, of each layer and of each class, over many draws: the
median, and the 95th percentile. The coherence α = ‖Σg‖² / (m Σ‖g‖²) is off by as much. `claimed` is the mean
of the standard errors that the drawn samples themselves give for the whole, over the true root mean square
error: above 1, they promise less than is true.

What a forward pass gives is ‖r‖, of the residual r = p − y. What a plain backward pass gives besides is, of
each layer, the norm of the gradient δ at its output and of its input a: ‖δ‖²‖a‖² bounds the layer's ‖g‖², and
is equal to it for a layer that is called at one position. `bound` is the sum of these over the layers, and in
`bound by layer` each layer counts alike. A `balanced` draw gives half of its samples to the classes alike.

The table shows the worst network for each; `--all` shows every network.

Draws are systematic: the samples, in the order of their classes, lie side by side, each as long as its π, and
those are taken that cover a point of a grid of distance 1 with a random start (Madow 1949).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gradients.trained import LARGE, trained
from benchmarks.shared import paths
from benchmarks.shared.command_line import check_data_dir, make_parser
from benchmarks.shared.measuring import BATCH, measure_model
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows

RESULTS = paths.RESULTS / "energy.json"
CACHE = paths.CACHE / "energy"
"""Folder of the exact norms."""
DRAWS = 100
"""Draws per network, sizes and number of samples."""
SAMPLES = (1000, 2000)
"""Numbers of samples that are drawn."""
PARTS = {"total": (0, 1), "layers": (0,), "classes": (1,)}
"""Whose energy is estimated → the axes of [classes, layers] to add up for it."""

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """What is known of every sample.

    Attributes:
        squares: ‖g_i^l‖², [samples, layers].
        residual: ‖r_i‖², [samples].
        bounds: ‖δ_i^l‖² ‖a_i^l‖², [samples, any]; see `backward_bounds`.
        labels: Class numbers, [samples].
        classes: Number of classes.
    """

    squares: Array
    residual: Array
    bounds: Array
    labels: NDArray[np.int64]
    classes: int

    def only(self, drawn: NDArray[np.int64]) -> Exact:
        """Return the same of some samples."""
        return replace(
            self,
            squares=self.squares[drawn],
            residual=self.residual[drawn],
            bounds=self.bounds[drawn],
            labels=self.labels[drawn],
        )

    def by_class(self, values: Array) -> Array:
        """Return the sums of values [samples] or [samples, any] over each class, [classes, ...]."""
        sums = np.zeros((self.classes, *values.shape[1:]))
        np.add.at(sums, self.labels, values)
        return sums


def _shares(values: Array) -> Array:
    shares: Array = values / values.sum()
    return shares


def _balanced(exact: Exact, values: Array) -> Array:
    """Return shares half ∝ the values, half ∝ the values within each class, the classes alike."""
    totals = exact.by_class(values)
    present = totals > 0
    shares = np.divide(1 / present.sum(), totals, out=np.zeros_like(totals), where=present)
    result: Array = 0.5 * _shares(values) + 0.5 * values * shares[exact.labels]
    return result


def _bound(exact: Exact) -> Array:
    return _shares(exact.bounds.sum(1))


def _layers_alike(exact: Exact) -> Array:
    return _shares((exact.bounds / exact.bounds.sum(0)).sum(1))


def _forward(exact: Exact) -> Array:
    return _shares(exact.residual)


def _backward(exact: Exact) -> Array:
    return _shares(_bound(exact) + _layers_alike(exact) + _forward(exact))


SIZES: Mapping[str, Callable[[Exact], Array]] = {
    "uniform": lambda e: _shares(np.ones(len(e.labels))),
    "‖r‖": lambda e: _shares(np.sqrt(e.residual)),
    "‖r‖²": _forward,
    "‖r‖², balanced": lambda e: _balanced(e, _forward(e)),
    "bound, balanced": lambda e: _balanced(e, _bound(e)),
    "bound by layer, balanced": lambda e: _balanced(e, _layers_alike(e)),
    "both bounds and ‖r‖², balanced": lambda e: _balanced(e, _backward(e)),
}
"""What the probabilities are proportional to; each sums to 1 over the samples."""


def inclusion(sizes: Array, count: int) -> Array:
    """Return π_i = min(1, c · size_i) with Σ π_i = count, or 1 for all if there are no more samples."""
    if count >= len(sizes):
        return np.ones_like(sizes)
    probability = np.zeros_like(sizes)
    sure = np.zeros(len(sizes), dtype=bool)
    while True:
        rest = sizes[~sure].sum()
        probability = np.where(sure, 1.0, sizes * (count - sure.sum()) / rest if rest > 0 else 0.0)
        beyond = (probability >= 1) & ~sure
        if not beyond.any():
            return probability
        sure |= beyond


def systematic(
    probability: Array, order: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the samples drawn, each at most once, in the given order."""
    ends = np.cumsum(probability[order])
    start = generator.random()
    hits = np.floor(ends - start) - np.floor(np.concatenate([[0.0], ends[:-1]]) - start)
    return order[hits > 0]


def estimate(exact: Exact, probability: Array, drawn: NDArray[np.int64]) -> tuple[Array, float]:
    """Return the estimated energies by class, [classes, layers], and the standard error of their sum."""
    some = exact.only(drawn)
    weighted = some.squares / probability[drawn, None]
    by_chance = 1 - probability[drawn]
    # Hájek 1964: a fixed number of samples, with unequal probabilities
    center = by_chance @ weighted.sum(1) / max(by_chance.sum(), 1e-30)
    square = by_chance @ (weighted.sum(1) - center) ** 2 * len(drawn) / (len(drawn) - 1)
    return some.by_class(weighted), float(np.sqrt(square))


def assess(exact: Exact, sizes: str, count: int, draws: int = DRAWS) -> Row:
    """Return the errors over all draws."""
    probability = inclusion(SIZES[sizes](exact), count)
    order = np.argsort(exact.labels, kind="stable")
    generator = np.random.default_rng(0)
    pairs = [estimate(exact, probability, systematic(probability, order, generator)) for _ in range(draws)]
    energy = np.stack([found for found, _ in pairs])
    truth = exact.by_class(exact.squares)
    row: Row = {"sizes": sizes, "samples": count}
    for what, axes in PARTS.items():
        exactly = truth.sum(axes)
        off = np.abs(energy.sum(tuple(a + 1 for a in axes)) / np.where(exactly > 0, exactly, np.nan) - 1)
        row |= {what: float(np.nanmedian(off)), f"{what}_95": float(np.nanquantile(off, 0.95))}
    true_error = np.sqrt(np.mean((energy.sum((1, 2)) - truth.sum()) ** 2))
    return row | {"claimed": float(np.mean([error for _, error in pairs]) / true_error)}


def backward_bounds(model: nn.Module, inputs: Tensor, labels: Tensor) -> Array:
    """Return ‖δ_i‖² ‖a_i‖² of each layer with a matrix as its weight, [samples, layers].

    δ_i is the gradient of sample i's loss at the layer's output and a_i the layer's input, over all
    positions. An embedding's input counts as 1, as if no word came twice. A layer that is called once for all
    samples, as that of the positions may be, is left out.
    """
    batches: dict[str, list[Tensor]] = {}

    def watch(name: str, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        a = arguments[0].detach()
        size = a.flatten(1).square().sum(1) if a.is_floating_point() else torch.ones(len(a))

        def add(gradient: Tensor) -> None:
            batches.setdefault(name, []).append(gradient.flatten(1).square().sum(1) * size)

        output.register_hook(add)

    kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
    hooks = [
        module.register_forward_hook(partial(watch, name))
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    for x, y in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
        F.cross_entropy(model(x), y, reduction="sum").backward()
        model.zero_grad()
    for hook in hooks:
        hook.remove()
    joined = {name: torch.cat(parts) for name, parts in batches.items()}
    return torch.stack([part for part in joined.values() if len(part) == len(labels)], 1).double().numpy()


def exact_norms(name: str, folder: Path) -> Exact:
    """Return every sample's norms on a network, measured now or before."""
    path = CACHE / f"{name.replace(', ', '-').replace(' ', '-')}.npz"
    if not path.exists():
        subject = trained(name, folder)
        data = subject.data
        measured = measure_model(subject.model, data.inputs, data.labels, data.classes)
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            squares=measured.squared_norms,
            residual=measured.scale**2,
            bounds=backward_bounds(subject.model, data.inputs, data.labels),
            labels=data.labels.numpy(),
            classes=data.classes,
            accuracy=subject.accuracy,
        )
    with np.load(path) as arrays:
        return Exact(
            arrays["squares"], arrays["residual"], arrays["bounds"], arrays["labels"], int(arrays["classes"])
        )


def worst(rows: Sequence[Row]) -> list[Row]:
    """Return a row per sizes and samples, with the largest of each error among the networks."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["samples"], row["sizes"]), []).append(row)
    figures = [name for part in PARTS for name in (part, f"{part}_95")]
    return [
        group[0]
        | {"network": f"worst of {len(group)}", "claimed": min(row["claimed"] for row in group)}
        | {name: max(row[name] for row in group) for name in figures}
        for group in groups.values()
    ]


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal."""
    result = Table("network", "samples", "sizes", title="Relative error in %: median / 95 %")
    for name in (*PARTS, "claimed"):
        result.add_column(name, justify="right")
    for row in rows:
        errors = [f"{100 * row[part]:.2f} / {100 * row[f'{part}_95']:.2f}" for part in PARTS]
        cells = (row["network"], f"{row['samples']:,}", row["sizes"])
        result.add_row(*cells, *errors, f"{row['claimed']:.2f}")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or show the saved results; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--networks", nargs="+", choices=LARGE, default=list(LARGE))
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--all", action="store_true", help="show every network, not the worst of them")
    args = parser.parse_args(arguments)
    console = Console(width=130)
    rows = read_rows(RESULTS)
    if not args.show:
        check_data_dir(parser, args.data_dir)
        for name in args.networks:
            exact = exact_norms(name, args.data_dir)
            found = [
                {"network": name, "of": len(exact.labels)} | assess(exact, sizes, count)
                for count in args.samples
                for sizes in SIZES
            ]
            rows = replace_rows(rows, found, ("network",))
            write_rows(RESULTS, rows)
    chosen = [row for row in rows if row["network"] in args.networks]
    console.print(table(chosen if args.all else worst(chosen)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
