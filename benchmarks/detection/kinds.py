"""Are mislabeled, ambiguous, rare and duplicate samples told apart? On data into which such samples were put.

    python -m benchmarks.detection.kinds --data-dir DIR   train, scan, and show
    python -m benchmarks.detection.kinds --show           show what was measured before

Into 4,000 images come: labels flipped to any other class (5 %), blends of two images of different classes
with the label of one (4 %: ambiguous, and right), enlarged handwritten digits among clothes or animals, digit
d always with label d (60: rare, and right), and copies: exact, with noise of 2 % of the deviation, and
5 % brighter (40 each). A CNN fits all of it; then cohaudit says what kind each sample is.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from benchmarks.detection.comparison import SUSPECT, scanned
from benchmarks.detection.runs import INTERPOLATED, RECIPES, fit
from benchmarks.shared import paths
from benchmarks.shared.datasets import Noisy, noisy
from cohaudit.analysis.leave_one_out import suspect_labels
from cohaudit.analysis.near_duplicates import compare_views
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.results.kinds import SAMPLE_KINDS

RESULTS = paths.RESULTS / "kinds.json"
DATA = ("fashion", "cifar")
SEEDS = 3
IMAGES, WRONG, BLENDS, RARE, COPIES = 4000, 200, 160, 60, 40
PUT_IN = ("plain", "wrong label", "blend", "rare", "exact copy", "copy with noise", "brighter copy")

Row: TypeAlias = dict[str, Any]


def mixed(data: str, seed: int, folder: Path) -> tuple[Noisy, np.ndarray]:
    """Return images with all that was put in, and what each is, an index of PUT_IN."""
    clean = noisy(data, "0 %", seed, folder)
    generator = torch.Generator().manual_seed(seed)
    x, truth = clean.train[:IMAGES].clone(), clean.truth[:IMAGES]
    order = torch.randperm(IMAGES, generator=generator)
    wrong, blends, copied = order.split([WRONG, BLENDS, IMAGES - WRONG - BLENDS])
    labels = truth.clone()
    labels[wrong] = (truth[wrong] + torch.randint(1, 10, (WRONG,), generator=generator)) % 10
    for i in blends:
        other = copied[truth[copied] != truth[i]]
        x[i] = (x[i] + x[other[torch.randint(len(other), (1,), generator=generator)][0]]) / 2
    copied = copied[: 3 * COPIES]
    noise = 0.02 * x.std() * torch.randn(x[copied[:COPIES]].shape, generator=generator)
    exact, noised, brighter = x[copied].split(COPIES)
    digits, names = _digits(x, seed)
    what = np.repeat([0, 3, 4, 5, 6], [IMAGES, RARE, COPIES, COPIES, COPIES])
    what[wrong.numpy()], what[blends.numpy()] = 1, 2
    data_ = Noisy(
        torch.cat([x, digits, exact, noised + noise, brighter * 1.05]),
        torch.cat([labels, names, labels[copied]]),
        torch.cat([truth, names, truth[copied]]),
        *(clean.test, clean.test_labels, 10),
    )
    return data_, what


def _digits(like: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return handwritten digits in the size, the channels and the range of other images."""
    found = load_digits()
    some = np.random.default_rng(seed).permutation(len(found.data))[:RARE]
    images = torch.from_numpy(found.images[some] / 16).float()[:, None]
    grown = F.interpolate(images, size=like.shape[-2:], mode="bilinear").expand(-1, like.shape[1], -1, -1)
    return like.min() + (like.max() - like.min()) * grown, torch.from_numpy(found.target[some]).long()


def judge(data: str, seed: int, folder: Path) -> list[Row]:
    """Return a row per thing put in: how many of it are called what, and how surely."""
    torch.set_num_threads(1)
    given, what = mixed(data, seed, folder)
    torch.manual_seed(seed)
    recipe = RECIPES["CNN, Adam"]
    model = recipe.build(given)
    fit(model, recipe, given.train, given.labels, INTERPOLATED)
    cold, labels = scanned(given, model, 1.0), given.labels.numpy()
    views = [view.rows for view in cold.views]
    found = suspect_labels(views, labels, cold.probability)
    twin = compare_views(views).duplicate_of
    names, certainty = kinds_of(found.expected, labels, found.probability, found.probability >= SUSPECT, twin)
    rows = []
    for k, put_in in enumerate(PUT_IN):
        own = what == k
        called = {name: int((names[own] == name).sum()) for name in SAMPLE_KINDS}
        rows.append(
            {"data": data, "seed": seed, "put_in": put_in, "samples": int(own.sum()), "called": called}
            | {"certainty": float(certainty[own].mean())}
        )
    return rows


def show(rows: Sequence[Row], console: Console) -> None:
    """Print what is called what, the mean over the seeds."""
    table = pd.DataFrame(list(rows))
    for data, own in table.groupby("data", sort=False):
        printed = Table("put in", "samples", *SAMPLE_KINDS, title=f"{data}: called what, of what was put in")
        for put_in, part in own.groupby("put_in", sort=False):
            total = int(part["samples"].sum())
            shares = [sum(called[kind] for called in part["called"]) / total for kind in SAMPLE_KINDS]
            printed.add_row(str(put_in), f"{total:,}", *(f"{share:.1%}" for share in shares))
        console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--show", action="store_true", help="show the results, and do nothing else")
    args, console = parser.parse_args(arguments), Console(width=150)
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    if not args.show:
        rows = []
        for data in DATA:
            for seed in range(args.seeds):
                rows += judge(data, seed, args.data_dir)
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(rows, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
