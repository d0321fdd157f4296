"""A zoo of small trained networks whose generalization gap is known, saved on disk once trained.

    python -m benchmarks.generalization.zoo                  train what is missing (two hours on two cores)
    python -m benchmarks.generalization.zoo --processes 16   in 16 processes of one thread each

In a family, data and architecture are fixed, and a walk through the grid of everything else gives its
members: every step changes one factor, so that each pair of neighbors isolates it (as Jiang et al.,
arXiv 1912.02178, do with a full grid). The data is read from `--data-dir`; the digits come with
scikit-learn. The share of wrong training labels is one of the factors; test labels are as they come.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.generalization.zoo_networks import BUILDS, materialized
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import adult_rows, digits
from benchmarks.shared.label_noise import flip_labels
from benchmarks.shared.training import logits_of

CACHE = paths.CACHE / "zoo"
"""Folder of the networks."""
POOL = 3000
"""Largest number of training samples; the digits have fewer."""
TEST = 4000
"""Number of test samples; the digits have fewer."""


@dataclass(frozen=True)
class Family:
    """Networks of one architecture on one data.

    Attributes:
        data: Name of the data: digits, fashion, cifar or adult.
        architecture: Name of the architecture, in BUILDS.
        fit: Whether its members may be used to fit a predictor of the gap.
        samples: Three sizes of the training set.
        widths: Three widths.
        depths: Two depths.
        rates: Two learning rates for SGD with momentum 0.9, two for AdamW.
        least_pass: Smallest number of samples that count as an epoch; small sets are seen more often.
    """

    data: str
    architecture: str
    fit: bool
    samples: tuple[int, int, int] = (300, 1000, 3000)
    widths: tuple[int, int, int] = (32, 64, 128)
    depths: tuple[int, int] = (1, 3)
    rates: tuple[tuple[float, float], tuple[float, float]] = ((0.02, 0.1), (0.001, 0.004))
    least_pass: int = 1000

    @property
    def name(self) -> str:
        """Data and architecture."""
        return f"{self.data} {self.architecture}"


def _family(data: str, architecture: str, fit: bool) -> Family:
    family = Family(data, architecture, fit)
    if data == "digits":
        family = replace(family, samples=(200, 500, 1200), least_pass=3000)
    if architecture == "CNN":
        family = replace(family, widths=(8, 16, 24), depths=(2, 3))
    if architecture == "ResNet":
        family = replace(family, widths=(4, 8, 12), depths=(1, 2))
    if architecture == "transformer":
        family = replace(family, widths=(16, 32, 48), depths=(1, 2), rates=((0.05, 0.2), (0.001, 0.004)))
    return family


FAMILIES: tuple[Family, ...] = (
    _family("digits", "MLP", True),
    _family("digits", "CNN", False),
    _family("digits", "transformer", True),
    _family("fashion", "MLP", False),
    _family("fashion", "CNN", True),
    _family("fashion", "ResNet", True),
    _family("fashion", "transformer", False),
    _family("cifar", "CNN", False),
    _family("cifar", "ResNet", True),
    _family("cifar", "transformer", False),
    _family("adult", "MLP", True),
    _family("adult", "residual MLP", False),
)
"""All families. Half of them are never used for fitting; every data set is in both halves."""


@dataclass(frozen=True)
class Member:
    """One network of the zoo: its family and the level of each factor.

    Attributes:
        family: Name of the family.
        samples: Level of the training set's size.
        noise: Share of training labels replaced by another class.
        epochs: Passes over the data, or over the family's `least_pass` samples if these are more.
        width: Level of the width.
        depth: Level of the depth.
        decay: Level of the weight decay: none or some.
        dropout: Probability of dropout.
        augment: Whether images are shifted and flipped, and numbers of a table jittered.
        batch: Samples per step.
        rate: Level of the learning rate.
        optimizer: SGD with momentum, or AdamW.
    """

    family: str
    samples: int
    noise: float
    epochs: int
    width: int
    depth: int
    decay: int
    dropout: float
    augment: bool
    batch: int
    rate: int
    optimizer: str

    @property
    def key(self) -> str:
        """Name of its files."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.family.replace(' ', '-')}-{zlib.crc32(text.encode()):08x}"

    @property
    def seed(self) -> int:
        """Seed of its weights, its batches and its augmentation; every member has its own."""
        return zlib.crc32(self.key.encode())


FACTORS: dict[str, tuple[object, ...]] = {
    "samples": (0, 1, 2),
    "noise": (0.0, 0.1, 0.3),
    "epochs": (10, 30, 100),
    "width": (0, 1, 2),
    "depth": (0, 1),
    "decay": (0, 1),
    "dropout": (0.0, 0.3),
    "augment": (False, True),
    "batch": (32, 128),
    "rate": (0, 1),
    "optimizer": ("SGD", "AdamW"),
}
"""The levels of every factor."""
STEPS = {"samples": 4, "noise": 4, "epochs": 3}
"""How often a walk changes a factor; the others twice."""
DECAYS = {"SGD": (0.0, 3e-3), "AdamW": (0.0, 0.1)}


def walk(family: Family) -> list[Member]:
    """Return the family's members; each differs from the one before in one factor."""
    chance = random.Random(family.name)
    steps = [factor for factor in FACTORS for _ in range(STEPS.get(factor, 2))]
    while True:
        chance.shuffle(steps)
        start = {factor: chance.choice(levels) for factor, levels in FACTORS.items()}
        # the levels of a factor have its type, which a table of all factors cannot say
        members = [Member(family.name, **start)]  # type: ignore[arg-type]
        for factor in steps:
            others = [level for level in FACTORS[factor] if level != getattr(members[-1], factor)]
            members.append(replace(members[-1], **{factor: chance.choice(others)}))  # type: ignore[arg-type]
        if len(set(members)) == len(members):
            return members


def members() -> list[Member]:
    """Return the whole zoo, family by family."""
    return [member for family in FAMILIES for member in walk(family)]


def family_of(member: Member) -> Family:
    """Return a member's family."""
    return next(family for family in FAMILIES if family.name == member.family)


@dataclass(frozen=True)
class Pool:
    """Samples to train on and to test on, with their labels as they come."""

    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int


@lru_cache(maxsize=1)
def pool(data: str, folder: Path) -> Pool:
    """Return the samples that members of a family draw on.

    Raises:
        FileNotFoundError: If the data is not there.
    """
    if data == "digits":
        x, y = digits()
        return _parted(x.reshape(-1, 1, 8, 8), y, 1200)
    if data == "adult":
        x, y = adult_rows(folder)
        return _parted(x, y, POOL)
    with np.load(folder / {"fashion": "fashion_mnist.npz", "cifar": "cifar10_20k.npz"}[data]) as arrays:
        x, y, x_test, y_test = (
            torch.from_numpy(arrays[f"{name}_{part}"][:most])
            for part, most in (("train", POOL), ("test", TEST))
            for name in ("x", "y")
        )
    images = [
        part[:, None] if part.ndim == 3 else part.permute(0, 3, 1, 2).contiguous() for part in (x, x_test)
    ]
    pixels = images[0].float() / 255
    mean = pixels.mean()
    deviation = pixels.std()
    x, x_test = ((image.float() / 255 - mean) / deviation for image in images)
    return Pool(x, y.long(), x_test, y_test.long(), 10)


def _parted(x: Tensor, y: Tensor, train: int) -> Pool:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x = x[order]
    y = y[order]
    test = slice(train, train + TEST)
    return Pool(x[:train], y[:train], x[test], y[test], int(y.max()) + 1)


def given(member: Member, folder: Path) -> Pool:
    """Return what a member was trained on, its wrong labels among it, and the test samples."""
    whole = pool(family_of(member).data, folder)
    count = family_of(member).samples[member.samples]
    generator = torch.Generator().manual_seed(1)
    labels = flip_labels(whole.labels, whole.classes, member.noise, generator)
    return replace(whole, train=whole.train[:count], labels=labels[:count])


def build(member: Member, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a member as it was before training."""
    family = family_of(member)
    torch.manual_seed(member.seed)
    width = family.widths[member.width]
    depth = family.depths[member.depth]
    model = BUILDS[family.architecture](shape, classes, width, depth, member.dropout)
    return materialized(model, shape)


def train(member: Member, data: Pool) -> nn.Module:
    """Train a member."""
    model = build(member, tuple(data.train.shape[1:]), data.classes).train()
    rate = family_of(member).rates[member.optimizer == "AdamW"][member.rate]
    decay = DECAYS[member.optimizer][member.decay]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    if member.optimizer == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)
    steps = -(-member.epochs * max(len(data.labels), family_of(member).least_pass) // member.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(member.seed)
    flips = family_of(member).data in ("fashion", "cifar")
    left = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(left) < member.batch:
            left = torch.cat([left, torch.randperm(len(data.labels), generator=generator)])
        chosen = left[: member.batch]
        left = left[member.batch :]
        x = data.train[chosen]
        if member.augment:
            x = _augmented(x, flips, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x), data.labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _augmented(x: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    if x.ndim == 2:
        return x + 0.1 * torch.randn(x.shape, generator=generator)
    most = 1 if x.shape[2] < 16 else 2
    down, right = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
    x = torch.roll(x, (down, right), (2, 3))
    return x.flip(3) if flips and torch.rand((), generator=generator) < 0.5 else x


def measured(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, float, float]:
    """Return the logits, the accuracy, and the mean loss in nats."""
    logits = logits_of(model, x)
    return logits, float((logits.argmax(1) == y).double().mean()), float(F.cross_entropy(logits, y))


def make(member: Member, folder: Path) -> None:
    """Train a member and save it with its accuracies, unless that was done before."""
    path = CACHE / f"{member.key}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    start = time.perf_counter()
    data = given(member, folder)
    model = train(member, data)
    seconds = time.perf_counter() - start
    _, accuracy, loss = measured(model, data.train, data.labels)
    logits, test_accuracy, test_loss = measured(model, data.test, data.test_labels)
    right = (logits.argmax(1) == data.test_labels).numpy()
    facts = {"train_accuracy": accuracy, "train_loss": loss, "seconds": seconds}
    facts |= {"test_accuracy": test_accuracy, "test_loss": test_loss}
    CACHE.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), CACHE / f"{member.key}.safetensors")
    np.save(CACHE / f"{member.key}.npy", np.packbits(right))
    path.write_text(json.dumps(asdict(member) | facts), encoding="utf-8")


def load(member: Member, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a member that was trained."""
    model = build(member, shape, classes)
    model.load_state_dict(load_file(CACHE / f"{member.key}.safetensors"))
    return model.eval()


def _make(task: tuple[Member, Path]) -> str:
    try:
        make(*task)
    except FileNotFoundError as error:
        return f"{task[0].key}: {error}"
    return ""


Task = TypeVar("Task")


def in_processes(work: Callable[[Task], str], tasks: Sequence[Task], processes: int) -> list[str]:
    """Do the tasks in several processes, count them on standard error, and return what went wrong.

    Args:
        work: Does a task; returns an error message, or an empty text.
        tasks: All tasks.
        processes: Number of processes.
    """
    failures = []
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        for done, failure in enumerate(workers.imap_unordered(work, tasks), 1):
            print(f"\r{done}/{len(tasks)}", end="", file=sys.stderr, flush=True)
            failures += [failure] if failure else []
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing; return the exit code, 1 if data is missing."""
    parser = make_parser(__doc__, data=True)
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--first", type=int, default=0, help="number of members of each family (default: all)"
    )
    parser.add_argument("--families", nargs="+", choices=[f.name for f in FAMILIES])
    args = parser.parse_args(arguments)
    chosen = [
        member
        for family in FAMILIES
        if not args.families or family.name in args.families
        for member in walk(family)[: args.first or None]
    ]
    # the largest first, so that at the end no process waits for a large one
    chosen.sort(key=lambda m: m.epochs * family_of(m).samples[m.samples], reverse=True)
    failures = in_processes(_make, [(member, args.data_dir) for member in chosen], args.processes)
    print(*sorted(failures), sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
