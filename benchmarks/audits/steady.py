"""Does an optimizer's state show the coherence over time that measuring with the data shows?

    python -m benchmarks.audits.steady --data-dir DIR   train, compare, write results/steady.json
    python -m benchmarks.audits.steady --show           show the saved results

Perceptrons and CNNs on the digits and Fashion-MNIST are trained by AdamW with several learning rates, batch
sizes, lengths and shares of wrong labels. For each layer: α of the steps' gradients by
`cohaudit.audits.optimizer_state`, and α of the samples' gradients at the last weights by
`cohaudit.gradients`, converted to that of batches of k samples, kα / (1 + (k − 1) α).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from benchmarks.generalization import zoo
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.audits.optimizer_state import moments_by_name, temporal_coherence

RESULTS = paths.RESULTS / "steady.json"
GRID = {
    "family": ("digits MLP", "digits CNN", "fashion MLP", "fashion CNN"),
    "steps": (60, 300, 1500),
    "batch": (32, 128),
    "rate": (0.0003, 0.003),
    "noise": (0.0, 0.3),
}


def compare(folder: Path) -> Iterator[Row]:
    """Train each network of the grid and yield, for each of its layers, both coherences."""
    for family, steps, batch, rate, noise in itertools.product(*GRID.values()):
        member = zoo.walk(next(f for f in zoo.FAMILIES if f.name == family))[0]
        member = replace(member, samples=1, noise=noise, dropout=0.0, width=1, depth=0)
        data = zoo.given(member, folder)
        model = zoo.build(member, tuple(data.train.shape[1:]), data.classes)
        optimizer = torch.optim.AdamW(model.parameters(), rate)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            chosen = torch.randint(len(data.labels), (batch,), generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(model(data.train[chosen]), data.labels[chosen]).backward()
            optimizer.step()
        moments = moments_by_name(optimizer.state_dict(), model.state_dict())
        found = measure_model(model.eval(), data.train, data.labels, data.classes)
        for k, layer in enumerate(found.layers):
            own = [one for name, one in moments.items() if name.rpartition(".")[0] == layer.name]
            energy = float(found.squared_norms[:, k].sum())
            alpha = float(found.total_squares[k]) / energy / len(data.labels) if energy else 0.0
            yield {
                "family": family,
                **{"steps": steps, "batch": batch, "rate": rate, "noise": noise, "layer": layer.name},
                "told": temporal_coherence(own),
                "measured": batch * alpha / (1 + (batch - 1) * alpha),
            }


def show(rows: list[Row]) -> None:
    """Print rank correlations and errors, by the number of steps."""
    for steps in (*GRID["steps"], None):
        some = [one for one in rows if one["told"] is not None and steps in (one["steps"], None)]
        by_state, by_data = (np.array([one[name] for one in some]) for name in ("told", "measured"))
        print(
            f"{steps or 'all'} steps, {len(some)} layers: "
            f""
            f"Spearman {spearmanr(by_state, by_data).statistic:.2f}, "
            f"median told {np.median(by_state):.3f}, measured {np.median(by_data):.3f}, "
            f"mean absolute difference {np.abs(by_state - by_data).mean():.3f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        write_rows(RESULTS, list(compare(args.data_dir)))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
