"""Real data, training and test samples apart.

It is read from the folder of `--data-dir`; the digits come with scikit-learn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor

WORDS = 5000
"""Numbers of words in texts; by their hash, several words share a number."""
TREC_LENGTH = 20
"""Words of each question of TREC that are used."""


@dataclass(frozen=True)
class CleanData:
    """Samples with their true labels.

    Attributes:
        train: Training samples, [samples, ...].
        truth: Their true labels, int64 [samples].
        test: Test samples, [any, ...].
        test_labels: True labels of the test samples.
        classes: Number of classes.
        human: Labels by people, where the data has some: name of the noise → int64 [samples].
        confused: Groups of classes that people mistake for one another.
    """

    train: Tensor
    truth: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    human: dict[str, Tensor]
    confused: tuple[tuple[int, ...], ...] = ()


def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits, float32 [1797, 64] from 0 to 1, and their labels, int64 [1797]."""
    loaded = load_digits()
    return torch.tensor(loaded.data / 16, dtype=torch.float32), torch.tensor(loaded.target).long()


def _digits(folder: Path, seed: int) -> CleanData:
    x, y = digits()
    return _split(x.reshape(-1, 1, 8, 8), y, 1300, seed)


def _split(x: Tensor, y: Tensor, train: int, seed: int) -> CleanData:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    a = order[:train]
    b = order[train:]
    return CleanData(x[a], y[a], x[b], y[b], int(y.max()) + 1, {})


def _images(path: Path, train: int, test: int, seed: int, confused: tuple[tuple[int, ...], ...]) -> CleanData:
    with np.load(path) as arrays:
        some = np.random.default_rng(seed).permutation(len(arrays["x_train"]))[:train]
        x = arrays["x_train"][some]
        y = arrays["y_train"][some]
        x_test = arrays["x_test"][:test]
        y_test = arrays["y_test"][:test]
    mean = x.mean() / 255
    deviation = x.std() / 255

    def scaled(pixels: np.ndarray) -> Tensor:
        out = torch.from_numpy(pixels).float().div_(255).sub_(mean).div_(deviation)
        return out[:, None] if out.ndim == 3 else out.permute(0, 3, 1, 2).contiguous()

    labels = torch.from_numpy(y).long()
    test_labels = torch.from_numpy(y_test).long()
    return CleanData(scaled(x), labels, scaled(x_test), test_labels, 10, {}, confused)


def _fashion(folder: Path, seed: int) -> CleanData:
    # T-shirt, pullover, coat, shirt; sandal, sneaker, boot
    return _images(folder / "fashion_mnist.npz", 6000, 2000, seed, ((0, 2, 4, 6), (5, 7, 9)))


def _cifar(folder: Path, seed: int) -> CleanData:
    # plane, ship, bird; car, truck; cat, dog; deer, horse
    return _images(folder / "cifar10_20k.npz", 4000, 2000, seed, ((0, 8, 2), (1, 9), (3, 5), (4, 7)))


def _labelme(folder: Path, seed: int) -> CleanData:
    with np.load(folder / "labelme_features.npz") as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    human = {"majority": found["majority_vote"].long(), "one annotator": found["one_annotator"].long()}
    return CleanData(
        found["x_train"], found["true_train"].long(), found["x_test"], found["true_test"].long(), 8, human
    )


def word_numbers(texts: Sequence[str], length: int, words: int) -> Tensor:
    """Return the first words of each text as numbers below `words`, [texts, length]; 0 after its end."""
    rows = []
    for text in texts:
        numbers = [1 + zlib.crc32(word.encode()) % (words - 1) for word in text.lower().split()[:length]]
        rows.append(numbers + [0] * (length - len(numbers)))
    return torch.tensor(rows)


def _sentiment(folder: Path, seed: int) -> CleanData:
    train, test = (pd.read_csv(folder / f"sentiment_{part}.csv") for part in ("train", "test"))
    truth = torch.tensor(train["true_label"].to_numpy()).long()
    human = {
        "majority": torch.tensor(train["majority_vote"].to_numpy()).long(),
        "one annotator": torch.tensor(train["one_annotator"].to_numpy()).long(),
    }
    x, x_test = (word_numbers([str(text) for text in table["text"]], 40, WORDS) for table in (train, test))
    return CleanData(x, truth, x_test, torch.tensor(test["true_label"].to_numpy()).long(), 2, human)


def _trec(folder: Path, seed: int) -> CleanData:
    texts, kinds = trec_questions(folder, "train")
    test_texts, test_kinds = trec_questions(folder, "test")
    names = sorted(set(kinds))
    y, y_test = (torch.tensor([names.index(kind) for kind in part]) for part in (kinds, test_kinds))
    x, x_test = (word_numbers(part, TREC_LENGTH, WORDS) for part in (texts, test_texts))
    return CleanData(x, y, x_test, y_test, len(names), {})


def trec_questions(folder: Path, part: str) -> tuple[list[str], list[str]]:
    """Return the questions of a part of TREC, `train` or `test`, and the kind of answer each asks for."""
    lines = (folder / f"trec_{part}.label").read_text(encoding="latin-1").splitlines()
    return [line.partition(" ")[2] for line in lines], [line.partition(":")[0] for line in lines]


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


def _adult(folder: Path, seed: int) -> CleanData:
    x, labels = adult_rows(folder)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:8000]
    return _split(x[some], labels[some], 6000, seed)


SOURCES: dict[str, Callable[[Path, int], CleanData]] = {
    "digits": _digits,
    "fashion": _fashion,
    "cifar": _cifar,
    "labelme": _labelme,
    "sentiment": _sentiment,
    "trec": _trec,
    "adult": _adult,
}
"""Data sets by name; each reads its samples from a folder, those that a seed chooses."""
