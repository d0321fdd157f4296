"""Networks by name, and how each is trained on real data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.shared.datasets import WORDS
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.networks import TransformerBlock, resnet18
from benchmarks.shared.training import accuracy, train_epoch

INTERPOLATED = 0.995
"""Share of the labels that can be fitted from which on a network counts as interpolating them."""


class TextTransformer(nn.Module):
    """Word embedding, two blocks of a transformer, and a dense layer on the mean of the words."""

    def __init__(self, length: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width, padding_idx=0)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4, False) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map words [batch, positions] to logits [batch, classes]."""
        hidden = self.norm(self.blocks(self.embed(x) + self.positions))
        is_word = (x > 0).unsqueeze(2)
        out: Tensor = self.head((hidden * is_word).sum(1) / is_word.sum(1).clamp_min(1))
        return out


class WordAverage(nn.Module):
    """Mean of the words' embeddings, and a hidden layer."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map words [batch, positions] to logits [batch, classes]."""
        is_word = (x > 0).unsqueeze(2)
        mean = (self.embed(x) * is_word).sum(1) / is_word.sum(1).clamp_min(1)
        out: Tensor = self.head(torch.relu(self.hidden(mean)))
        return out


def cnn(side: int, channels: int, classes: int) -> nn.Module:
    """Return a network of three convolutions and two dense layers."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def perceptron(inputs: int, classes: int, width: int) -> nn.Module:
    """Return a network of two hidden layers of `width` units."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU()),
        *(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)),
    )


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained.

    Attributes:
        build: Makes the untrained network for some samples.
        sgd: Whether the optimizer is SGD with momentum 0.9, rather than Adam.
        rate: Learning rate.
        epochs: Maximum number of passes over the data.
        batch: Samples per step.
    """

    build: Callable[[NoisyData], nn.Module]
    sgd: bool
    rate: float
    epochs: int
    batch: int = 64

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return a fresh optimizer."""
        if self.sgd:
            return torch.optim.SGD(model.parameters(), self.rate, momentum=0.9)
        return torch.optim.Adam(model.parameters(), self.rate)


RECIPES: dict[str, Recipe] = {
    "MLP, SGD": Recipe(lambda d: perceptron(d.train[0].numel(), d.classes, 256), True, 0.02, 500),
    "MLP, Adam": Recipe(lambda d: perceptron(d.train[0].numel(), d.classes, 256), False, 1e-3, 800),
    "CNN, Adam": Recipe(lambda d: cnn(d.train.shape[-1], d.train.shape[1], d.classes), False, 1e-3, 400),
    "ResNet, SGD": Recipe(lambda d: resnet18(8, d.classes), True, 0.05, 80),
    "small MLP, SGD": Recipe(lambda d: perceptron(d.train[0].numel(), d.classes, 64), True, 0.1, 500),
    "small MLP, Adam": Recipe(lambda d: perceptron(d.train[0].numel(), d.classes, 64), False, 1e-3, 800),
    "word average, Adam": Recipe(lambda d: WordAverage(d.classes, 32), False, 3e-3, 200),
    "transformer, Adam": Recipe(lambda d: TextTransformer(d.train.shape[1], d.classes), False, 1e-3, 80),
}
"""Recipes by name: the architecture and the optimizer."""


def train_until(
    recipe: Recipe, model: nn.Module, inputs: Tensor, labels: Tensor, share: float = INTERPOLATED
) -> int:
    """Train a network until it predicts this share of the labels; return the number of epochs.

    It is trained for as many epochs as the recipe has at most, and left in eval mode.
    """
    optimizer = recipe.optimizer(model)
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(model, optimizer, inputs, labels, recipe.batch)
        if accuracy(model, inputs, labels) >= share:
            return epoch
    return recipe.epochs
