"""The networks of the verdicts benchmark, and how each is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.generalization.zoo_networks import Transformer
from benchmarks.shared.networks import resnet18
from benchmarks.shared.recipes import Recipe, TextTransformer, cnn, perceptron
from benchmarks.verdicts.minilm import FineTunedMiniLM


class TextCNN(nn.Module):
    """Word embedding, convolutions over two, three and four words, and the maximum of each over the text."""

    def __init__(self, words: int, classes: int, width: int = 48, channels: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, channels, size, padding=1) for size in (2, 3, 4))
        self.head = nn.Linear(3 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map words [batch, positions] to logits [batch, classes]."""
        embedded = self.embed(x).transpose(1, 2)
        pooled = [layer(embedded).relu().amax(2) for layer in self.convolutions]
        out: Tensor = self.head(torch.cat(pooled, 1))
        return out


class WordWindow(nn.Module):
    """Embeddings of the numbers that describe a word, side by side, and one hidden layer."""

    def __init__(self, words: int, window: int, classes: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.hidden = nn.Linear(window * width, 128)
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows [batch, window] to logits [batch, classes]."""
        out: Tensor = self.head(self.hidden(self.embed(x).flatten(1)).relu())
        return out


@dataclass(frozen=True)
class Training(Recipe):
    """How a network is built and trained.

    Attributes:
        pretrained: Number of other images, with true labels, that the network was trained on before.
    """

    pretrained: int = 0


NETWORKS: dict[str, Training] = {
    "MLP": Training(lambda d: perceptron(d.train[0].numel(), d.classes, 128), False, 1e-3, 200),
    "MLP, SGD": Training(lambda d: perceptron(d.train[0].numel(), d.classes, 128), True, 0.03, 250),
    "CNN": Training(lambda d: cnn(d.train.shape[-1], d.train.shape[1], d.classes), False, 1e-3, 80),
    "ResNet": Training(lambda d: resnet18(6, d.classes), True, 0.05, 30),
    "ResNet, pretrained": Training(lambda d: resnet18(6, d.classes), True, 0.02, 30, pretrained=8000),
    "ViT": Training(lambda d: Transformer(tuple(d.train.shape[1:]), d.classes, 64, 3, 0.0), False, 1e-3, 50),
    "text CNN": Training(lambda d: TextCNN(int(d.train.max()) + 1, d.classes), False, 1e-3, 30),
    "transformer": Training(lambda d: TextTransformer(d.train.shape[1], d.classes), False, 1e-3, 30),
    "MiniLM, fine-tuned": Training(lambda d: FineTunedMiniLM(d.classes), False, 2e-4, 10, batch=32),
    "word window": Training(lambda d: WordWindow(20000, d.train.shape[1], d.classes), False, 1e-3, 30),
}
"""Networks by name."""
