"""What `cohaudit diff` says of trainings that differ in their seed alone, and of such whose data changed.

    python benchmarks/comparing.py          train, audit and compare; writes benchmarks/results/comparing.json
    python benchmarks/comparing.py --show   print what was written

The network of the digits fixture on its 1,300 images, of which 10 % are labeled wrong, trained from several
seeds (start and order of the samples). Then, from as many seeds: with 26 or 65 more wrong labels, with half
of the wrong ones put right, and on half of the images. Every audit of one kind is held as head against every
audit of the unchanged data as base, but never against itself. Audits are kept in benchmarks/.cache/comparing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import cohaudit
from cohaudit.diff import Difference, compare
from cohaudit.report import audit_to_json, write_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "fixtures"))
from make_fixtures import network  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "comparing.json"
CACHE = Path(__file__).parent / ".cache" / "comparing"
KINDS = {"unchanged": 5, "26 more wrong": 3, "65 more wrong": 3, "half put right": 3, "half the images": 3}
"""What was changed → seeds."""
EPOCHS = 60

Arrays = tuple[torch.Tensor, torch.Tensor, list[str]]


def data(kind: str) -> Arrays:
    """Return images, labels and ids."""
    arrays = np.load(ROOT / "fixtures" / "digits" / "train.npz")
    truth = pd.read_csv(ROOT / "fixtures" / "digits" / "truth.csv")
    labels, true = arrays["labels"].copy(), truth["true"].to_numpy()
    right, wrong = np.flatnonzero(labels == true), np.flatnonzero(labels != true)
    rng = np.random.default_rng(7)
    if kind.endswith("more wrong"):
        chosen = rng.choice(right, int(kind.split()[0]), replace=False)
        labels[chosen] = (labels[chosen] + rng.integers(1, 10, len(chosen))) % 10
    if kind == "half put right":
        chosen = rng.choice(wrong, len(wrong) // 2, replace=False)
        labels[chosen] = true[chosen]
    kept = np.arange(len(labels) // 2 if kind == "half the images" else len(labels))
    images = torch.from_numpy(arrays["images"]).float().div(255).unsqueeze(1)
    return images[kept], torch.from_numpy(labels[kept]), [str(i) for i in kept]


@cache
def audit(kind: str, seed: int) -> cohaudit.Audit:
    """Train and audit, unless that is done."""
    path = CACHE / f"{kind.replace(' ', '-')}-{seed}.json"
    if not path.exists():
        x, y, _ = data(kind)
        torch.manual_seed(seed)
        model = network("digits", "DigitsNet")()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(EPOCHS * 1300 // len(x)):
            for batch in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
        found = cohaudit.scan(model.eval(), (x, y), class_names=[str(i) for i in range(10)])
        write_file(path, audit_to_json(found))
        print(f"audited {path.stem}: accuracy {found.sanity.accuracy:.3f}", flush=True)
    return cohaudit.read_audit(path)


def pairs(kind: str) -> Iterator[Difference]:
    """Compare each audit of a kind, as head, with each of the unchanged data."""
    for before, after in itertools.product(range(KINDS["unchanged"]), range(KINDS[kind])):
        if kind != "unchanged" or before != after:
            yield compare(audit("unchanged", before), audit(kind, after))


def measure(kind: str) -> dict[str, Any]:
    """Return how often a difference of a kind is what, and by how much."""
    found = list(pairs(kind))
    gaps = [one.gap.head.value - one.gap.base.value for one in found if one.gap.base and one.gap.head]
    layers = [layer.coherence.outcome in {"higher", "lower"} for one in found for layer in one.layers]
    classes = [c.coherence.outcome in {"higher", "lower"} for one in found for c in one.classes]
    return {
        "change": kind,
        "pairs": len(found),
        "gap moved, points": [100 * float(np.mean(gaps)), 100 * min(gaps), 100 * max(gaps)],
        "gap larger": sum(one.gap.outcome == "higher" for one in found),
        "level risen": sum(one.level_risen for one in found),
        "new suspects": [len(one.suspects.new) for one in found],
        "fixed suspects": [len(one.suspects.fixed) for one in found],
        "more suspects": sum(one.suspects.more for one in found),
        "regressions": sum(bool(one.regressions) for one in found),
        "layers changed": float(np.mean(layers)),
        "classes changed": float(np.mean(classes)),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"{'change':17}{'pairs':>6}{'gap moved':>22}{'larger':>8}{'risen':>7}", end="")
    print(f"{'new':>8}{'fixed':>8}{'more':>6}{'regr.':>7}{'layers':>8}{'classes':>9}")
    for row in rows:
        mean, low, high = row["gap moved, points"]
        moved = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        new, fixed = (np.mean(row[name]) for name in ("new suspects", "fixed suspects"))
        print(f"{row['change']:17}{row['pairs']:6}{moved:>22}{row['gap larger']:8}", end="")
        print(f"{row['level risen']:7}{new:8.1f}{fixed:8.1f}{row['more suspects']:6}", end="")
        print(f"{row['regressions']:7}{row['layers changed']:8.0%}{row['classes changed']:9.0%}")


def main() -> None:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true")
    if not parser.parse_args().show:
        torch.set_num_threads(1)
        rows = [measure(kind) for kind in KINDS]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
