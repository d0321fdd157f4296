"""Synthetic data with known posteriors: Gaussian clouds, from separable to hopeless.

A grid of classes, separation, imbalance, kind and share of noise, and size. The true label is the cloud that
a sample was drawn from.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.shared.datasets import CleanData

DIMENSIONS = 12
"""Numbers of a sample; clouds lie on a regular simplex in as many of them as there are classes, or random."""


@dataclass(frozen=True)
class Clouds:
    """A synthetic data set.

    Attributes:
        classes: C.
        distance: Distance between the centers of two clouds, in standard deviations.
        rarest: Share of the rarest class relative to the largest; sizes fall geometrically.
        samples: N.
    """

    classes: int
    distance: float
    rarest: float
    samples: int

    @property
    def name(self) -> str:
        """Name of the data set."""
        return f"clouds {self.classes} {self.distance} {self.rarest} {self.samples}"


def parse(name: str) -> Clouds:
    """Return the data set of a name."""
    _, classes, distance, rarest, samples = name.split()
    return Clouds(int(classes), float(distance), float(rarest), int(samples))


def draw(clouds: Clouds, seed: int) -> CleanData:
    """Return training samples, and 1,000 test samples."""
    rng = np.random.default_rng([seed, clouds.classes, clouds.samples])
    centers = rng.normal(size=(clouds.classes, DIMENSIONS))
    if clouds.classes <= DIMENSIONS:
        centers = np.eye(DIMENSIONS)[: clouds.classes] * np.sqrt(DIMENSIONS)
    gaps = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    centers *= clouds.distance / gaps[np.triu_indices(clouds.classes, 1)].mean()
    share = clouds.rarest ** (np.arange(clouds.classes) / max(1, clouds.classes - 1))
    share /= share.sum()
    parts = []
    for count in (clouds.samples, 1000):
        y = np.concatenate(
            [np.arange(clouds.classes), rng.choice(clouds.classes, count - clouds.classes, p=share)]
        )
        rng.shuffle(y)
        parts.append((centers[y] + rng.normal(size=(count, DIMENSIONS)), y))
    (x, y), (x_test, y_test) = parts
    return CleanData(
        _tensor(x), torch.from_numpy(y), _tensor(x_test), torch.from_numpy(y_test), clouds.classes, {}
    )


def _tensor(x: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32))


GRID = [
    (Clouds(classes, distance, rarest, samples).name, noise)
    for k, (classes, distance, rarest, samples, noise) in enumerate(
        itertools.product(
            (2, 5, 30),
            (1.5, 3.0, 6.0),
            (1.0, 0.05),
            (300, 1000, 4000),
            ("0 %", "3 % uniform", "12 % uniform", "12 % confused", "8 % hard", "30 % uniform"),
        )
    )
    # every fifth of the whole grid: each value of each axis meets each of the others
    if k % 5 == 0 and not (classes == 30 and samples == 300)
]
"""Data and noise of the synthetic cells."""
