"""Real data with wrong labels that are known: flipped here on purpose, or given by people.

The data is found in the folder of `--data-dir`; the digits come with scikit-learn. Training and test
samples are apart; only training labels are ever wrong.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor

WORDS = 5000
"""Words told apart in texts; words share numbers by their hash."""


@dataclass(frozen=True)
class Clean:
    """Samples and their true labels; where people labeled too, what they said, by the name of the noise."""

    train: Tensor
    truth: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    human: dict[str, Tensor]
    confused: tuple[tuple[int, ...], ...] = ()
    """Groups of classes that people take for one another."""


@dataclass(frozen=True)
class Noisy:
    """Samples to train on.

    Attributes:
        train: [samples, ...].
        labels: As given to the network, int64 [samples].
        truth: The true ones, int64 [samples].
        test: [any, ...].
        test_labels: True ones.
        classes: Number of classes.
    """

    train: Tensor
    labels: Tensor
    truth: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int

    @property
    def wrong(self) -> Tensor:
        """Which labels are wrong, bool [samples]."""
        return self.labels != self.truth


def _digits(folder: Path, seed: int) -> Clean:
    found = load_digits()
    x = torch.tensor(found.data / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return _split(x, torch.tensor(found.target).long(), 1300, seed)


def _split(x: Tensor, y: Tensor, train: int, seed: int) -> Clean:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    a, b = order[:train], order[train:]
    return Clean(x[a], y[a], x[b], y[b], int(y.max()) + 1, {})


def _images(path: Path, train: int, test: int, seed: int, confused: tuple[tuple[int, ...], ...]) -> Clean:
    with np.load(path) as arrays:
        some = np.random.default_rng(seed).permutation(len(arrays["x_train"]))[:train]
        x, y = arrays["x_train"][some], arrays["y_train"][some]
        x_test, y_test = arrays["x_test"][:test], arrays["y_test"][:test]
    mean, deviation = x.mean() / 255, x.std() / 255

    def scaled(pixels: np.ndarray) -> Tensor:
        out = torch.from_numpy(pixels).float().div_(255).sub_(mean).div_(deviation)
        return out[:, None] if out.ndim == 3 else out.permute(0, 3, 1, 2).contiguous()

    labels, test_labels = torch.from_numpy(y).long(), torch.from_numpy(y_test).long()
    return Clean(scaled(x), labels, scaled(x_test), test_labels, 10, {}, confused)


def _fashion(folder: Path, seed: int) -> Clean:
    # T-shirt, pullover, coat, shirt; sandal, sneaker, boot
    return _images(folder / "fashion_mnist.npz", 6000, 2000, seed, ((0, 2, 4, 6), (5, 7, 9)))


def _cifar(folder: Path, seed: int) -> Clean:
    # plane, ship, bird; car, truck; cat, dog; deer, horse
    return _images(folder / "cifar10_20k.npz", 4000, 2000, seed, ((0, 8, 2), (1, 9), (3, 5), (4, 7)))


def _labelme(folder: Path, seed: int) -> Clean:
    with np.load(folder / "labelme_features.npz") as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    human = {"majority": found["majority_vote"].long(), "one annotator": found["one_annotator"].long()}
    return Clean(
        found["x_train"], found["true_train"].long(), found["x_test"], found["true_test"].long(), 8, human
    )


def _words(texts: list[str], length: int) -> Tensor:
    rows = []
    for text in texts:
        numbers = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in text.lower().split()[:length]]
        rows.append(numbers + [0] * (length - len(numbers)))
    return torch.tensor(rows)


def _sentiment(folder: Path, seed: int) -> Clean:
    train, test = (pd.read_csv(folder / f"sentiment_{part}.csv") for part in ("train", "test"))
    truth = torch.tensor(train["true_label"].to_numpy()).long()
    human = {
        "majority": torch.tensor(train["majority_vote"].to_numpy()).long(),
        "one annotator": torch.tensor(train["one_annotator"].to_numpy()).long(),
    }
    x, x_test = (_words([str(text) for text in table["text"]], 40) for table in (train, test))
    return Clean(x, truth, x_test, torch.tensor(test["true_label"].to_numpy()).long(), 2, human)


def _trec(folder: Path, seed: int) -> Clean:
    parts = {}
    for part in ("train", "test"):
        lines = (folder / f"trec_{part}.label").read_text(encoding="latin-1").splitlines()
        texts = [line.partition(" ")[2] for line in lines]
        parts[part] = texts, [line.partition(":")[0] for line in lines]
    kinds = sorted(set(parts["train"][1]))
    x, x_test = (_words(parts[part][0], 20) for part in ("train", "test"))
    y, y_test = (torch.tensor([kinds.index(kind) for kind in parts[part][1]]) for part in ("train", "test"))
    return Clean(x, y, x_test, y_test, len(kinds), {})


def adult_rows(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the rows of Adult, numbers scaled and texts one-hot, [samples, columns], and who earns more."""
    table = pd.read_csv(folder / "adult.csv.gz", skipinitialspace=True)
    labels = table["income"].astype(str).str.contains(">50K").to_numpy().astype(np.int64)
    columns = table.drop(columns=["income", "split"])
    numbers = columns.select_dtypes("number").astype(float)
    texts = pd.get_dummies(columns.drop(columns=numbers.columns), dtype=float)
    scaled = (numbers - numbers.mean()) / numbers.std()
    x = torch.tensor(np.concatenate([scaled.to_numpy(), texts.to_numpy()], 1), dtype=torch.float32)
    return x, torch.from_numpy(labels)


def _adult(folder: Path, seed: int) -> Clean:
    x, labels = adult_rows(folder)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:8000]
    return _split(x[some], labels[some], 6000, seed)


SOURCES: dict[str, Callable[[Path, int], Clean]] = {
    "digits": _digits,
    "fashion": _fashion,
    "cifar": _cifar,
    "labelme": _labelme,
    "sentiment": _sentiment,
    "trec": _trec,
    "adult": _adult,
}
"""Name → folder and seed → samples."""


def flipped(labels: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """Return the labels, a share of them replaced by another class, each equally likely."""
    wrong = torch.rand(len(labels), generator=generator) < share
    step = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(wrong, (labels + step) % classes, labels)


def flat_digits(train: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return all digits as flat rows in a fixed order, their true labels, and those of the first to train on.

    Args:
        train: Samples to train on.
        noise: Share of their labels that is flipped.
        generator: Of the flips.
    """
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x, truth = torch.tensor(found.data / 16, dtype=torch.float32)[order], torch.tensor(found.target)[order]
    return x, truth, flipped(truth[:train], 10, noise, generator)


def _confused(clean: Clean, share: float, generator: torch.Generator) -> Tensor:
    """Return the labels, a share of those in a group replaced by the next class of the group."""
    follows = torch.arange(clean.classes)
    for group in clean.confused:
        follows[list(group)] = torch.tensor([*group[1:], group[0]])
    wrong = torch.rand(len(clean.truth), generator=generator) < share
    return torch.where(wrong, follows[clean.truth], clean.truth)


def noisy(data: str, noise: str, seed: int, folder: Path) -> Noisy:
    """Return samples with labels as they are given to the network.

    Args:
        data: In SOURCES.
        noise: A share such as "20 %" (symmetric), "20 % by class", or the name of people's labels.
        seed: Of the samples chosen and the labels flipped.
        folder: Of the data.

    Raises:
        FileNotFoundError: If the data is not there.
    """
    clean = SOURCES[data](folder, seed)
    if noise in clean.human:
        labels = clean.human[noise]
    else:
        generator = torch.Generator().manual_seed(1000 + seed)
        share = float(noise.split()[0]) / 100
        if noise.endswith("by class"):
            labels = _confused(clean, share, generator)
        else:
            labels = flipped(clean.truth, clean.classes, share, generator)
    return Noisy(clean.train, labels, clean.truth, clean.test, clean.test_labels, clean.classes)
