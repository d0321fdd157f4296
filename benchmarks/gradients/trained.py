"""Small networks trained on real data with some labels flipped, saved on disk once trained.

The data is read from `--data-dir` (Fashion-MNIST and CIFAR-10 as .npz, the questions of TREC as text); the
digits come with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.shared import paths
from benchmarks.shared.datasets import TREC_LENGTH, digits, trec_questions, word_numbers
from benchmarks.shared.label_noise import flip_labels
from benchmarks.shared.networks import TextLSTM, TransformerBlock, mlp, resnet18
from benchmarks.shared.training import accuracy, train_epoch

CACHE = paths.CACHE
"""Folder of the checkpoints."""
FLIPPED_SHARE = 0.2
"""Share of the labels that is replaced by another class, each equally likely."""
WORDS = 4000
"""Numbers of words in TREC's questions; by their hash, several words share a number."""


@dataclass(frozen=True)
class Data:
    """Samples to train on.

    Attributes:
        inputs: [samples, ...].
        labels: Labels given to the network, some of them flipped, int64 [samples].
        wrong: Which labels were flipped, bool [samples].
        classes: Number of classes.
    """

    inputs: Tensor
    labels: Tensor
    wrong: Tensor
    classes: int


@dataclass(frozen=True)
class Network:
    """How to get one trained network.

    Attributes:
        data: Reads inputs and true labels from the folder of the data.
        build: Makes the untrained network.
        samples: Number of samples to train on: the first ones.
        epochs: Passes over the data, by Adam with batches of 64.
    """

    data: Callable[[Path], tuple[Tensor, Tensor]]
    build: Callable[[], nn.Module]
    samples: int
    epochs: int


@dataclass(frozen=True)
class Trained:
    """A trained network in eval mode, what it was trained on, and its training accuracy."""

    model: nn.Module
    data: Data
    accuracy: float


def _pixels(path: Path, mean: float, deviation: float) -> tuple[Tensor, Tensor]:
    with np.load(path) as arrays:
        x = torch.from_numpy(arrays["x_train"]).float().div_(255).sub_(mean).div_(deviation)
        return x, torch.from_numpy(arrays["y_train"]).long()


def fashion(folder: Path) -> tuple[Tensor, Tensor]:
    """Return Fashion-MNIST, [samples, 1, 28, 28]."""
    x, y = _pixels(folder / "fashion_mnist.npz", 0.286, 0.353)
    return x[:, None], y


def cifar(folder: Path) -> tuple[Tensor, Tensor]:
    """Return CIFAR-10, [samples, 3, 32, 32]."""
    x, y = _pixels(folder / "cifar10_20k.npz", 0.473, 0.251)
    return x.permute(0, 3, 1, 2).contiguous(), y


def trec(folder: Path) -> tuple[Tensor, Tensor]:
    """Return TREC's questions as numbers of words, [samples, TREC_LENGTH]."""
    texts, kinds = trec_questions(folder, "train")
    names = sorted(set(kinds))
    return word_numbers(texts, TREC_LENGTH, WORDS), torch.tensor([names.index(kind) for kind in kinds])


class SmallViT(nn.Module):
    """Vision transformer on 32×32 images that averages its positions."""

    def __init__(self, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4, False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, 32, 32] to logits [batch, 10]."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return out


def _cnn() -> nn.Module:
    """Return a network of two convolutions and two dense layers on 28×28 gray images."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def _perceptron(inputs: int, width: int) -> nn.Module:
    layers = mlp(width)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), *list(layers)[1:])


NETWORKS: dict[str, Network] = {
    "digits perceptron": Network(lambda folder: digits(), lambda: _perceptron(64, 128), 1797, 250),
    "fashion perceptron": Network(fashion, lambda: _perceptron(784, 128), 3000, 40),
    "fashion CNN, half-way": Network(fashion, _cnn, 3000, 8),
    "fashion CNN": Network(fashion, _cnn, 3000, 50),
    "CIFAR ResNet-18": Network(cifar, lambda: resnet18(8), 3000, 30),
    "CIFAR ViT": Network(cifar, SmallViT, 3000, 40),
    "TREC LSTM": Network(trec, lambda: TextLSTM(WORDS, 32, 64, 6), 3000, 80),
}
"""Networks by name. Except those named half-way, they fit their labels, the wrong ones included."""


def trained(name: str, folder: Path) -> Trained:
    """Return a network, trained now or before.

    Args:
        name: Name of the network, in NETWORKS.
        folder: Folder of the data.

    Raises:
        FileNotFoundError: If its data does not exist there.
    """
    network = NETWORKS[name]
    inputs, truth = network.data(folder)
    inputs = inputs[: network.samples]
    truth = truth[: network.samples]
    classes = int(truth.max()) + 1
    labels = flip_labels(truth, classes, FLIPPED_SHARE, torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = network.build()
    what = f"{name} {network.samples} {network.epochs}".replace(",", "").replace(" ", "-")
    path = CACHE / f"{what}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(network.epochs):
            train_epoch(model, optimizer, inputs, labels, 64)
        CACHE.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
    model.eval()
    data = Data(inputs, labels, labels != truth, classes)
    return Trained(model, data, accuracy(model, inputs, labels))
