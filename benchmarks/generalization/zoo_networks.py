"""The architectures of the zoo: each by width and depth, with dropout, small enough to train hundreds of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.shared.networks import BasicBlock, TransformerBlock

Build = Callable[[tuple[int, ...], int, int, int, float], nn.Module]
"""Shape of a sample, classes, width, depth, dropout → the untrained network."""


def perceptron(shape: tuple[int, ...], classes: int, width: int, depth: int, dropout: float) -> nn.Module:
    """Return `depth` hidden layers of `width` units."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = int(torch.Size(shape).numel())
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def cnn(shape: tuple[int, ...], classes: int, width: int, depth: int, dropout: float) -> nn.Module:
    """Return `depth` convolutions, the first two pooled, and two dense layers; the width doubles once."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for k in range(depth):
        out = width * (2 if k else 1)
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
        if k < 2:
            layers.append(nn.MaxPool2d(2))
        channels = out
    return nn.Sequential(
        *layers,
        *(nn.AdaptiveAvgPool2d(2 if shape[1] < 16 else 4), nn.Flatten(), nn.Dropout(dropout)),
        *(nn.LazyLinear(2 * width), nn.ReLU(), nn.Linear(2 * width, classes)),
    )


def resnet(shape: tuple[int, ...], classes: int, width: int, depth: int, dropout: float) -> nn.Module:
    """Return three stages of `depth` blocks, with BatchNorm; the first convolution halves the sides."""
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], width, 3, 2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    channels = width
    for stage in range(3):
        for block in range(depth):
            out = width * 2**stage
            layers.append(BasicBlock(channels, out, 2 if block == 0 and stage else 1))
            channels = out
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, classes))
    return nn.Sequential(*layers, *head)


class Transformer(nn.Module):
    """Transformer on the patches of an image; the mean of its positions is classified."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        patch = 2 if shape[1] < 16 else 4
        places = (shape[1] // patch) * (shape[2] // patch)
        self.patches = nn.Conv2d(shape[0], width, patch, patch)
        self.positions = nn.Parameter(torch.randn(1, places, width) * 0.02)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks += [TransformerBlock(width, 4, causal=False), nn.Dropout(dropout)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, channels, height, width] to logits [batch, classes]."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return out


class _ResidualLayer(nn.Module):
    """LayerNorm and two dense layers around a shortcut."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(2 * width, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, width] to the same shape."""
        out: Tensor = x + self.inner(x)
        return out


def residual(shape: tuple[int, ...], classes: int, width: int, depth: int, dropout: float) -> nn.Module:
    """Return the residual network for tables of Gorishniy et al. (NeurIPS 2021), with LayerNorm."""
    blocks = [_ResidualLayer(width, dropout) for _ in range(depth)]
    return nn.Sequential(nn.Linear(shape[0], width), *blocks, nn.LayerNorm(width), nn.Linear(width, classes))


BUILDS: dict[str, Build] = {
    "MLP": perceptron,
    "CNN": cnn,
    "ResNet": resnet,
    "transformer": Transformer,
    "residual MLP": residual,
}
"""Architectures by name."""


def materialized(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Return a network whose lazy layers have their sizes, and whose running statistics are still unused.

    Args:
        model: Just built.
        shape: Of a sample.
    """
    with torch.no_grad():
        model(torch.zeros(2, *shape))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return model
