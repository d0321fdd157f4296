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
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from benchmarks.shared import paths
from benchmarks.shared.datasets import TREC_LENGTH, digits, trec_questions, word_numbers
from benchmarks.shared.label_noise import flip_labels
from benchmarks.shared.networks import GPT, TextLSTM, TransformerBlock, mlp, resnet18
from benchmarks.shared.recipes import TextTransformer, cnn, perceptron
from benchmarks.shared.training import accuracy, logits_of, train_epoch

CACHE = paths.CACHE
"""Folder of the checkpoints."""
CONTEXT = 32
"""Characters before the one that is predicted."""
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
        flipped: Share of the labels that is replaced by another class, each equally likely.
    """

    data: Callable[[Path], tuple[Tensor, Tensor]]
    build: Callable[[], nn.Module]
    samples: int
    epochs: int
    flipped: float = 0.2


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


def characters(folder: Path) -> tuple[Tensor, Tensor]:
    """Return contexts of Shakespeare's characters, [samples, CONTEXT], and the character that follows each.

    The samples lie as far apart as the text is long for 20,000 of them; the 65 characters are numbered by how
    often they occur, the rarest two together.
    """
    text = np.frombuffer((folder / "tinyshakespeare.txt").read_bytes(), np.uint8)
    found, number, count = np.unique(text, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(len(found))
    codes = rank[number].clip(max=63)
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)
    chosen = torch.from_numpy(windows[:: len(windows) // 20_000][:20_000].copy())
    return chosen[:, :-1].contiguous(), chosen[:, -1].contiguous()


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
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), *list(layers.children())[1:])


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


LARGE: dict[str, Network] = {
    "CNN, 2 epochs": Network(fashion, lambda: cnn(28, 1, 10), 20_000, 2, 0.05),
    "CNN, 25 epochs": Network(fashion, lambda: cnn(28, 1, 10), 20_000, 25, 0.05),
    "perceptron": Network(fashion, lambda: perceptron(784, 10, 512), 20_000, 25, 0.05),
    "TREC transformer": Network(trec, lambda: TextTransformer(TREC_LENGTH, 6), 5452, 20, 0.05),
    "character LSTM": Network(characters, lambda: TextLSTM(64, 128, 128, 64), 20_000, 5, 0.0),
    "character GPT": Network(characters, lambda: GPT(64, CONTEXT, 64, 2, 4), 20_000, 8, 0.0),
}
"""Networks on as many samples as the data has, or 20,000: what is estimated from few samples is not exact
there because the few are nearly all."""


def trained(name: str, folder: Path) -> Trained:
    """Return a network, trained now or before.

    Args:
        name: Name of the network, in NETWORKS or LARGE.
        folder: Folder of the data.

    Raises:
        FileNotFoundError: If its data does not exist there.
    """
    network = (NETWORKS | LARGE)[name]
    inputs, truth = network.data(folder)
    inputs = inputs[: network.samples]
    truth = truth[: network.samples]
    torch.manual_seed(0)
    model = network.build()
    classes = logits_of(model, inputs[:2]).shape[1]  # the samples may lack the rarest
    labels = flip_labels(truth, classes, network.flipped, torch.Generator().manual_seed(1))
    what = f"{name} {network.samples} {network.epochs}".replace(",", "").replace(" ", "-")
    path = CACHE / f"{what}.safetensors"
    if path.exists():
        load_model(model, path)  # a head may be tied to the embedding
    else:
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(network.epochs):
            train_epoch(model, optimizer, inputs, labels, 64)
        CACHE.mkdir(parents=True, exist_ok=True)
        save_model(model, str(path))
    model.eval()
    data = Data(inputs, labels, labels != truth, classes)
    return Trained(model, data, accuracy(model, inputs, labels))
