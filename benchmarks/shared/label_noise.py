"""Real data with wrong labels that are known: flipped on purpose, or given by people.

Only training labels are ever wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.shared.datasets import SOURCES, CleanData, digits


@dataclass(frozen=True)
class NoisyData:
    """Samples to train on, and to test on.

    Attributes:
        train: Training samples, [samples, ...].
        labels: Labels given to the network, int64 [samples].
        truth: True labels, int64 [samples].
        test: Test samples, [any, ...].
        test_labels: True labels of the test samples.
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

    def first(self, count: int) -> NoisyData:
        """Return the same data with its first training samples only."""
        return replace(self, train=self.train[:count], labels=self.labels[:count], truth=self.truth[:count])


def flip_labels(labels: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """Return the labels, a share of them replaced by another class, each equally likely."""
    wrong = torch.rand(len(labels), generator=generator) < share
    step = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(wrong, (labels + step) % classes, labels)


def flip_within_groups(clean: CleanData, share: float, generator: torch.Generator) -> Tensor:
    """Return the labels, a share of those in a group of confused classes replaced by its next class."""
    follows = torch.arange(clean.classes)
    for group in clean.confused:
        follows[list(group)] = torch.tensor([*group[1:], group[0]])
    wrong = torch.rand(len(clean.truth), generator=generator) < share
    return torch.where(wrong, follows[clean.truth], clean.truth)


def noisy_digits(count: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return all digits as flat rows in a fixed order, their true labels, and the labels to train on.

    Args:
        count: Number of samples to train on: the first ones.
        share: Share of their labels that is flipped.
        generator: Draws the flips.
    """
    x, truth = digits()
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(0))
    x = x[order]
    truth = truth[order]
    return x, truth, flip_labels(truth[:count], 10, share, generator)


def load_noisy(data: str, noise: str, seed: int, folder: Path) -> NoisyData:
    """Return samples with the labels that the network is given.

    Args:
        data: Name of a data set, in SOURCES.
        noise: A share such as "20 %" (symmetric), "20 % by class", "random" (labels that say nothing), or the
            name of people's labels.
        seed: Seed of the samples chosen and the labels flipped.
        folder: Folder of the data.

    Raises:
        FileNotFoundError: If the data does not exist there.
    """
    clean = SOURCES[data](folder, seed)
    if noise in clean.human:
        labels = clean.human[noise]
    else:
        generator = torch.Generator().manual_seed(1000 + seed)
        # a label drawn at random is the true one as often as any other
        share = 1 - 1 / clean.classes if noise == "random" else float(noise.split()[0]) / 100
        if noise.endswith("by class"):
            labels = flip_within_groups(clean, share, generator)
        else:
            labels = flip_labels(clean.truth, clean.classes, share, generator)
    return NoisyData(clean.train, labels, clean.truth, clean.test, clean.test_labels, clean.classes)
