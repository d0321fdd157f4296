"""The networks of the stopping benchmark, and how training varies: schedules and augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.generalization.zoo_networks import Transformer
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.recipes import TextTransformer, perceptron
from benchmarks.verdicts.networks import TextCNN, WordWindow

TOKENS = 20_000
"""Words that a window of words can have."""
WARM_UP = 0.2
"""Share of the steps in which a warm-up schedule rises."""
STEPS_AT = (0.5, 0.75)
"""Shares of the steps after which a step schedule divides the rate by ten."""
SHIFT = 0.125
"""Largest shift of an augmented image, as a share of its width."""
WORDS_DROPPED = 0.15
"""Share of the words of an augmented text that are left out."""
JITTER = 0.2
"""Standard deviation of what is added to the numbers of an augmented table, in units of each column's own."""


def norm_cnn(channels: int, classes: int, width: int = 8) -> nn.Module:
    """Return three convolutions, each with BatchNorm, and two dense layers; for images of any size."""
    layers: list[nn.Module] = []
    for place, out in enumerate((width, 2 * width, 3 * width)):
        layers += [nn.Conv2d(channels, out, 3, 1 if place else 2, padding=1, bias=False), nn.BatchNorm2d(out)]
        layers += [nn.ReLU(), nn.MaxPool2d(2) if place else nn.Identity()]
        channels = out
    return nn.Sequential(*layers, *_dense(channels, classes))


def plain_cnn(channels: int, classes: int, width: int = 8) -> nn.Module:
    """Return the same without BatchNorm."""
    layers: list[nn.Module] = []
    for place, out in enumerate((width, 2 * width, 3 * width)):
        layers += [nn.Conv2d(channels, out, 3, 1 if place else 2, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2) if place else nn.Identity()]
        channels = out
    return nn.Sequential(*layers, *_dense(channels, classes))


def _dense(channels: int, classes: int) -> list[nn.Module]:
    pooled = [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return [*pooled, nn.Linear(4 * channels, 64), nn.ReLU(), nn.Linear(64, classes)]


def norm_perceptron(inputs: int, classes: int, width: int = 96) -> nn.Module:
    """Return two hidden layers with BatchNorm."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
        *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)),
    )


NETWORKS: dict[str, Callable[[NoisyData], nn.Module]] = {
    "MLP": lambda d: perceptron(d.train[0].numel(), d.classes, 96),
    "MLP, BatchNorm": lambda d: norm_perceptron(d.train[0].numel(), d.classes),
    "CNN": lambda d: plain_cnn(d.train.shape[1], d.classes),
    "CNN, BatchNorm": lambda d: norm_cnn(d.train.shape[1], d.classes),
    "CNN, pretrained": lambda d: norm_cnn(3, d.classes),
    "ViT": lambda d: Transformer(tuple(d.train.shape[1:]), d.classes, 32, 2, 0.0),
    "text CNN": lambda d: TextCNN(int(max(d.train.max(), d.test.max())) + 1, d.classes, 32, 32),
    "transformer": lambda d: TextTransformer(d.train.shape[1], d.classes, 32),
    "word window": lambda d: WordWindow(TOKENS, d.train.shape[1], d.classes, 12),
}
"""Networks by name."""


def rate_factor(schedule: str, done: float) -> float:
    """Return the learning rate as a share of the largest one.

    Args:
        schedule: "constant", "cosine", "step" or "warm-up", which rises first and falls to 0 then.
        done: Share of the steps that are done, from 0 up to 1.
    """
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "step":
            return 0.1 ** sum(done >= at for at in STEPS_AT)
        case "warm-up":
            return (done + 0.01) / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP)
    raise ValueError(schedule)


def augment(inputs: Tensor, *, flip: bool, generator: torch.Generator) -> Tensor:
    """Return a batch as training sees it: images shifted and flipped, words left out, numbers jittered."""
    if not inputs.is_floating_point():
        keep = torch.rand(inputs.shape, generator=generator) >= WORDS_DROPPED
        return inputs * keep
    if inputs.ndim == 2:
        return inputs + JITTER * torch.randn(inputs.shape, generator=generator)
    count, _, height, width = inputs.shape
    most = max(1, round(SHIFT * width))
    down, right = torch.randint(-most, most + 1, (2, count), generator=generator)
    rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    place = torch.arange(count)[:, None, None]
    # indices on both sides of the slice put the channels last
    return inputs[place, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
