"""Networks whose memory is looked for, and their parts: the layers between two views of a scan.

A scan says for each of its views, the inputs of up to six layers, which share of the unsupported labels it
fits. What lies between two views is a *segment*: what it adds to that share is how far labels became readable
in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.recipes import TextTransformer, cnn
from cohaudit.analysis.gap_drivers import MIN_DISAGREEMENTS, OVERFIT_LAYER

SAMPLES = 1000
"""Training samples of each network: small enough for twenty training runs a case."""
WIDTH = 128
"""Units of the perceptrons' hidden layers."""


def deep_perceptron(inputs: int, classes: int) -> nn.Module:
    """Return a perceptron of five dense layers: a scan then has a view of each."""
    widths = [inputs, *[WIDTH] * 4, classes]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    hidden = [module for layer in layers[:-1] for module in (layer, nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, layers[-1])


def normalized_cnn(side: int, channels: int, classes: int) -> nn.Module:
    """Return `cnn` with BatchNorm after each convolution."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


NETWORKS: dict[str, Callable[[NoisyData], nn.Module]] = {
    "MLP": lambda data: deep_perceptron(data.train[0].numel(), data.classes),
    "CNN": lambda data: cnn(data.train.shape[-1], data.train.shape[1], data.classes),
    "CNN, BatchNorm": lambda data: normalized_cnn(data.train.shape[-1], data.train.shape[1], data.classes),
    "transformer": lambda data: TextTransformer(data.train.shape[1], data.classes, 32),
}
"""Networks by name."""
MOST_EPOCHS = {"MLP": 120, "CNN": 60, "CNN, BatchNorm": 40, "transformer": 60}
"""Epochs after which training ends, though not all labels are fitted."""


@dataclass(frozen=True)
class Case:
    """A network, and the data that it is trained on.

    Attributes:
        data: Name of the data set.
        noise: Name of the label noise; see `load_noisy`.
        network: Name of the network.
        seed: Seed of the samples, the flips, the weights and the order of the batches.
    """

    data: str
    noise: str
    network: str
    seed: int

    def about(self) -> dict[str, str | int]:
        """Return what a row of results says of its case."""
        return asdict(self)

    def load(self, folder: Path) -> NoisyData:
        """Return the samples, from the folder of the data."""
        data = load_noisy(self.data, self.noise, self.seed, folder).first(SAMPLES)
        if not self.network.startswith("CNN"):
            return data
        # half the resolution: a quarter of the time
        return replace(data, train=F.avg_pool2d(data.train, 2), test=F.avg_pool2d(data.test, 2))

    def build(self, data: NoisyData) -> nn.Module:
        """Return the untrained network, with weights by torch's global generator."""
        return NETWORKS[self.network](data)


def cases() -> list[Case]:
    """Return all cases, a network of each kind first; those that train in seconds have a second seed."""
    flips = "20 %"
    confusions = "20 % by class"
    return [
        Case("fashion", flips, "MLP", 0),
        Case("adult", flips, "MLP", 0),
        Case("fashion", flips, "CNN, BatchNorm", 0),
        Case("trec", flips, "transformer", 0),
        Case("cifar", confusions, "CNN, BatchNorm", 0),
        Case("fashion", confusions, "CNN", 0),
        Case("cifar", flips, "CNN", 0),
        Case("trec", "10 %", "transformer", 0),
        Case("fashion", confusions, "MLP", 0),
        Case("adult", "10 %", "MLP", 0),
        Case("fashion", confusions, "CNN, BatchNorm", 0),
        Case("cifar", flips, "CNN, BatchNorm", 0),
        Case("fashion", flips, "CNN", 0),
        Case("cifar", confusions, "CNN", 0),
        Case("fashion", flips, "MLP", 1),
        Case("adult", flips, "MLP", 1),
        Case("fashion", confusions, "MLP", 1),
        Case("adult", "10 %", "MLP", 1),
    ]


@dataclass(frozen=True)
class Segment:
    """Layers between two views.

    Attributes:
        layers: Names of its layers, input side first.
        before: Share of the unsupported labels that its input fits; 0 for the network's first layers.
        after: The share that its output fits, the next view or the network's own answer.
    """

    layers: tuple[str, ...]
    before: float
    after: float


def segments_of(layers: Sequence[str], views: Sequence[str], fits: NDArray[np.float64]) -> list[Segment]:
    """Return a network's segments, input side first.

    Args:
        layers: Names of all layers with weights, input side first.
        views: Layer of each view, likewise; a layer may have two, of which the larger share counts.
        fits: Share of the unsupported labels that each view fits, and last the network itself, [views + 1].
    """
    places = list(dict.fromkeys(views))
    shares = [
        max(float(fit) for view, fit in zip(views, fits, strict=False) if view == one) for one in places
    ]
    starts = [layers.index(one) for one in places]
    shares.append(float(fits[-1]))
    if starts[0] > 0:  # an embedding has no view: its input is no vector
        starts.insert(0, 0)
        shares.insert(0, 0.0)
    ends = [*starts[1:], len(layers)]
    return [
        Segment(tuple(layers[start:end]), shares[k], shares[k + 1])
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def named_place(segments: Sequence[Segment], unsupported: int) -> int | None:
    """Return which segments the report names: those before this index; None if it names none.

    The report names the first view that fits at least half of the unsupported labels, and blames what lies
    before it; if only the network itself fits as many, it blames the last layers, and this is their number.

    Args:
        segments: Input side first.
        unsupported: Number of unsupported labels.
    """
    if unsupported < MIN_DISAGREEMENTS:
        return None
    return next((k for k, one in enumerate(segments, 1) if one.after >= OVERFIT_LAYER), None)
