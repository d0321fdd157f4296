"""Small networks trained on real data with some labels flipped on purpose, kept on disk once trained.

The data is found in `--data-dir` (Fashion-MNIST and CIFAR-10 as .npz, the questions of TREC as text); the
digits come with scikit-learn. A network whose data is absent is left out, and said so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.datasets import flipped
from benchmarks.shared.networks import TextLSTM, TransformerBlock, mlp, resnet18

CACHE = paths.CACHE
"""Where checkpoints are kept."""
FLIPPED = 0.2
"""Share of the labels that is replaced by another class, each equally likely."""
WORDS, LENGTH = 4000, 20
"""Words told apart in TREC's questions, and words kept of each question."""


@dataclass(frozen=True)
class Data:
    """Samples to train on.

    Attributes:
        inputs: [samples, ...].
        labels: As given to the network, some of them flipped, int64 [samples].
        wrong: Which were flipped, bool [samples].
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
        data: Folder of the data → inputs and true labels.
        build: Makes the untrained network.
        samples: How many of the samples to use.
        epochs: Passes over the data, by Adam with batches of 64.
    """

    data: Callable[[Path], tuple[Tensor, Tensor]]
    build: Callable[[], nn.Module]
    samples: int
    epochs: int


@dataclass(frozen=True)
class Trained:
    """A trained network, in eval mode, what it was trained on, and the share of these labels it gives."""

    model: nn.Module
    data: Data
    accuracy: float


def digits(folder: Path) -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits, [samples, 64]."""
    found = load_digits()
    return torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)


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
    """Return TREC's questions as numbers of words, [samples, LENGTH]; words share numbers by their hash."""
    lines = (folder / "trec_train.label").read_text(encoding="latin-1").splitlines()
    kinds = sorted({line.partition(":")[0] for line in lines})
    rows = []
    for line in lines:
        words = line.lower().split()[1:][:LENGTH]
        numbers = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in words]
        rows.append(numbers + [0] * (LENGTH - len(numbers)))
    return torch.tensor(rows), torch.tensor([kinds.index(line.partition(":")[0]) for line in lines])


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
    "digits perceptron": Network(digits, lambda: _perceptron(64, 128), 1797, 250),
    "fashion perceptron": Network(fashion, lambda: _perceptron(784, 128), 3000, 40),
    "fashion CNN, half-way": Network(fashion, _cnn, 3000, 8),
    "fashion CNN": Network(fashion, _cnn, 3000, 50),
    "CIFAR ResNet-18": Network(cifar, lambda: resnet18(8), 3000, 30),
    "CIFAR ViT": Network(cifar, SmallViT, 3000, 40),
    "TREC LSTM": Network(trec, lambda: TextLSTM(WORDS, 32, 64, 6), 3000, 80),
}
"""The networks by name. Those that are not named half-way fit their labels, the wrong ones included."""


def _flip(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the labels with a share of them replaced by another class, and which."""
    generator = torch.Generator().manual_seed(1)
    given = flipped(labels, classes, FLIPPED, generator)
    return given, given != labels


def trained(name: str, folder: Path) -> Trained:
    """Return a network, trained now or before.

    Args:
        name: In NETWORKS.
        folder: Of the data.

    Raises:
        FileNotFoundError: If its data is not there.
    """
    network = NETWORKS[name]
    inputs, truth = network.data(folder)
    inputs, truth = inputs[: network.samples], truth[: network.samples]
    classes = int(truth.max()) + 1
    labels, wrong = _flip(truth, classes)
    torch.manual_seed(0)
    model = network.build()
    what = f"{name} {network.samples} {network.epochs}".replace(",", "").replace(" ", "-")
    path = CACHE / f"{what}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        _train(model, inputs, labels, network.epochs)
        CACHE.mkdir(exist_ok=True)
        save_file(model.state_dict(), path)
    model.eval()
    with torch.no_grad():
        given = torch.cat([model(x).argmax(1) for x in inputs.split(256)])
    accuracy = (given == labels).double().mean().item()
    return Trained(model, Data(inputs, labels, wrong, classes), accuracy)


def _train(model: nn.Module, inputs: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
