"""How true the coherence over time is that an optimizer's memory tells, beside the one measured with data.

    python -m benchmarks.audits.steady          train, compare, and write results/steady.json
    python -m benchmarks.audits.steady --show   print what was written

Perceptrons and CNNs on the digits and Fashion-MNIST, by AdamW, of several learning rates, batch sizes,
lengths and shares of wrong labels. Of each, per layer: α of the steps' gradients by
`cohaudit.audits.optimizer_state`, and α of the samples' gradients at the last weights by
`cohaudit.gradients`, turned into that of batches of k, kα / (1 + (k − 1) α).
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from benchmarks.generalization import zoo
from benchmarks.generalization.evidence import measured
from benchmarks.shared import paths
from cohaudit.audits.optimizer_state import moments_by_name, temporal_coherence

RESULTS = paths.RESULTS
GRID = {
    "family": ("digits MLP", "digits CNN", "fashion MLP", "fashion CNN"),
    "steps": (60, 300, 1500),
    "batch": (32, 128),
    "rate": (0.0003, 0.003),
    "noise": (0.0, 0.3),
}

Row = dict[str, Any]


def compare(folder: Path) -> Iterator[Row]:
    """Train each network of the grid and yield, for each of its layers, both coherences."""
    for family, steps, batch, rate, noise in itertools.product(*GRID.values()):
        member = zoo.walk(next(f for f in zoo.FAMILIES if f.name == family))[0]
        member = zoo.replace(member, samples=1, noise=noise, dropout=0.0, width=1, depth=0)
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
        found = measured(model.eval(), data.train, data.labels, data.classes)
        for k, layer in enumerate(found.layers):
            own = [one for name, one in moments.items() if name.rpartition(".")[0] == layer.name]
            told = temporal_coherence(own)
            energy = float(found.squared_norms[:, k].sum())
            alpha = float(found.total_squares[k]) / energy / len(data.labels) if energy else 0.0
            yield {
                "family": family,
                **{"steps": steps, "batch": batch, "rate": rate, "noise": noise, "layer": layer.name},
                "told": told,
                "measured": batch * alpha / (1 + (batch - 1) * alpha),
            }


def show(rows: list[Row]) -> None:
    """Print rank correlations and errors, by the number of steps."""
    for steps in (*GRID["steps"], None):
        some = [one for one in rows if one["told"] is not None and steps in (one["steps"], None)]
        told, known = (np.array([one[name] for one in some]) for name in ("told", "measured"))
        print(
            f"{steps or 'all'} steps, {len(some)} layers: Spearman {spearmanr(told, known).statistic:.2f}, "
            f"median told {np.median(told):.3f}, measured {np.median(known):.3f}, "
            f"mean absolute difference {np.abs(told - known).mean():.3f}"
        )


def main() -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    path = RESULTS / "steady.json"
    if not args.show:
        rows = list(compare(args.data_dir))
        path.write_text("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n", encoding="utf-8")
    show(json.loads(path.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
