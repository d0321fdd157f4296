"""The cells of the benchmark: samples and labels, on which about ten recipes are trained each.

Sets of training samples are small, so that every network fits its labels in seconds; all samples that are
left, with their true labels, are test samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.label_noise import NoisyData
from benchmarks.verdicts.planted_noise import plant
from benchmarks.verdicts.samples import DATA_SETS

CACHE = paths.CACHE / "same_data"
"""Folder of the networks' measurements."""
SAMPLES = 600
"""Training samples of a cell."""
MAX_TEST = 5000
"""Test samples, at most."""
MAX_SIDE = 16
"""Height and width of an image from which on 2 × 2 pixels are averaged: networks of seconds."""
NUMBERS = 2000
"""Numbers of words; by their hash, several words share a number."""


@dataclass(frozen=True)
class Cell:
    """Samples with their labels.

    Attributes:
        data: Name of the data set in `benchmarks.verdicts.samples`.
        noise: Kind of label noise; see `planted_noise.plant`.
    """

    data: str
    noise: str

    @property
    def family(self) -> str:
        """Data sets of one family are left out together."""
        return DATA_SETS[self.data].family

    @property
    def kind(self) -> str:
        """Kind of the inputs: "image", "text", "words" or "table"."""
        return DATA_SETS[self.data].kind

    @property
    def folder(self) -> Path:
        """Folder of what is saved of its networks."""
        text = f"{self.data} {self.noise}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return CACHE / ("".join(c if c.isalnum() else "-" for c in text) + f"-{digest}")


TABLE: tuple[tuple[str, tuple[str, str]], ...] = (
    ("digits", ("10 % uniform", "0 %")),
    ("trec", ("0 %", "15 % uniform")),
    ("fashion", ("10 % hard", "0 %")),
    ("adult", ("0 %", "10 % uniform")),
    ("labelme", ("majority", "0 %")),
    ("cifar", ("0 %", "15 % uniform")),
    ("sentiment", ("0 %", "one annotator")),
    ("english words", ("10 % uniform", "0 %")),
    ("california", ("0 %", "10 % by class")),
    ("camvid patches", ("0 %", "10 % confused")),
    ("hausa news", ("distant", "0 %")),
    ("hausa words", ("distant", "0 %")),
)
"""Data set and two kinds of noise."""


def cells() -> list[Cell]:
    """Return all cells, one of every data set first."""
    return [Cell(data, noises[turn]) for turn in (0, 1) for data, noises in TABLE]


def samples(cell: Cell, folder: Path) -> NoisyData:
    """Return a cell's samples, and the labels that its networks are given.

    Args:
        cell: Data, noise and number of samples.
        folder: Folder of the data.
    """
    clean = DATA_SETS[cell.data].load(folder, 0)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(clean.truth)))
    chosen = order[:SAMPLES]
    rest = order[SAMPLES:]
    test = torch.cat([clean.test, clean.train[rest]])
    test_labels = torch.cat([clean.test_labels, clean.truth[rest]])
    # the published test set comes first, the samples that were not drawn fill it up
    some = torch.arange(len(test))[:MAX_TEST]
    human = {name: labels[chosen] for name, labels in clean.human.items()}
    part = replace(clean, train=clean.train[chosen], truth=clean.truth[chosen], human=human)
    labels = plant(part, cell.noise, 0)
    x, x_test = (small(inputs) for inputs in (part.train, test[some]))
    return NoisyData(x, labels, part.truth, x_test, test_labels[some], clean.classes)


def small(x: Tensor) -> Tensor:
    """Return images of half the size, and words by smaller numbers; 0 stays 0."""
    if not x.is_floating_point():
        return torch.where(x > 0, 1 + x % (NUMBERS - 1), 0)
    return F.avg_pool2d(x, 2) if x.ndim == 4 and x.shape[-1] > MAX_SIDE else x
