"""Are mislabeled, ambiguous, rare and duplicate samples told apart? On images into which such were put.

    python -m benchmarks.detection.kinds --data-dir DIR   train, scan, and show
    python -m benchmarks.detection.kinds --show           show the saved results

Into 4,000 images go: labels flipped to any other class (5 %); blends of two images of different classes with
the label of one (4 %: ambiguous, and right); enlarged handwritten digits among clothes or animals, digit d
always with label d (60: rare, and right); and copies: exact, with noise of 2 % of the standard deviation, and
5 % brighter (40 each). A CNN fits all of them; then cohaudit says of which kind each sample is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import digits
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.measuring import judge_as_a_scan, measure_model
from benchmarks.shared.recipes import RECIPES, train_until
from benchmarks.shared.results import Row, read_rows, write_json
from cohaudit.analysis.near_duplicates import compare_views
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.results.kinds import SAMPLE_KINDS

RESULTS = paths.RESULTS / "kinds.json"
DATA = ("fashion", "cifar")
SEEDS = 3
IMAGES = 4000
"""Images of the data set itself."""
WRONG = 200
"""Of these, images whose labels are flipped."""
BLENDS = 160
"""Of these, images blended with another one."""
RARE = 60
"""Handwritten digits put in."""
COPIES = 40
"""Copies put in of each of the three kinds."""
PUT_IN = ("plain", "wrong label", "blend", "rare", "exact copy", "copy with noise", "brighter copy")


def mixed(data: str, seed: int, folder: Path) -> tuple[NoisyData, np.ndarray]:
    """Return images with all that was put in, and what each is, an index of PUT_IN."""
    clean = load_noisy(data, "0 %", seed, folder)
    generator = torch.Generator().manual_seed(seed)
    x = clean.train[:IMAGES].clone()
    truth = clean.truth[:IMAGES]
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
    what[wrong.numpy()] = 1
    what[blends.numpy()] = 2
    mixture = NoisyData(
        torch.cat([x, digits, exact, noised + noise, brighter * 1.05]),
        torch.cat([labels, names, labels[copied]]),
        torch.cat([truth, names, truth[copied]]),
        *(clean.test, clean.test_labels, 10),
    )
    return mixture, what


def _digits(like: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return handwritten digits in the size, the channels and the range of other images."""
    pixels, names = digits()
    some = np.random.default_rng(seed).permutation(len(pixels))[:RARE]
    images = pixels[some].reshape(-1, 1, 8, 8)
    grown = F.interpolate(images, size=like.shape[-2:], mode="bilinear").expand(-1, like.shape[1], -1, -1)
    return like.min() + (like.max() - like.min()) * grown, names[some]


def judge(data: str, seed: int, folder: Path) -> list[Row]:
    """Return a row per kind of sample put in: how many of them are called what, and how surely."""
    torch.set_num_threads(1)
    given, what = mixed(data, seed, folder)
    torch.manual_seed(seed)
    recipe = RECIPES["CNN, Adam"]
    model = recipe.build(given)
    train_until(recipe, model, given.train, given.labels)
    cold = measure_model(model, given.train, given.labels, given.classes)
    found, suspect = judge_as_a_scan(cold, given.train, given.labels, given.classes)
    twin = compare_views([view.rows for view in cold.views]).duplicate_of
    names, certainty = kinds_of(found.expected, given.labels.numpy(), found.probability, suspect, twin)
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
    """Print what is called what, over all seeds."""
    table = pd.DataFrame(list(rows))
    for data, own in table.groupby("data", sort=False):
        printed = Table(
            "put in", "samples", *SAMPLE_KINDS, title=f"{data}: share of the samples put in that is called …"
        )
        for put_in, part in own.groupby("put_in", sort=False):
            total = int(part["samples"].sum())
            shares = [sum(called[kind] for called in part["called"]) / total for kind in SAMPLE_KINDS]
            printed.add_row(str(put_in), f"{total:,}", *(f"{share:.1%}" for share in shares))
        console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of seeds (default: all)")
    args = parser.parse_args(arguments)
    console = Console(width=150)
    if not args.show:
        rows: list[Row] = []
        for data, seed in itertools.product(DATA, range(args.seeds)):
            rows += judge(data, seed, args.data_dir)
            write_json(RESULTS, rows)
    show(read_rows(RESULTS), console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
