"""Recipes that networks of a cell are trained by: architecture, optimizer, regularization, seed.

They are drawn at random, as different as the networks of different people; the first two of a cell differ in
their seed alone, so that the differences of the others can be held against those of chance.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.generalization.zoo_networks import BUILDS, materialized
from benchmarks.same_data.cells import NUMBERS, Cell, small
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.recipes import TextTransformer, WordAverage
from benchmarks.shared.training import accuracy
from benchmarks.verdicts.networks import TextCNN, WordWindow

RECIPES = 10
"""Networks of a cell."""
FITTED = 0.97
"""Training accuracy below which the schedule is run again, up to CYCLES times."""
CYCLES = 3
"""Runs of the schedule, at most; the last one is without augmentation and weight decay, so that most fit."""
PRETRAINING = 2000
"""Other images, with true labels, that a pretrained network was trained on before."""

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "image": ("MLP", "MLP", "CNN", "CNN", "ResNet", "transformer"),
    "table": ("MLP", "MLP", "residual MLP"),
    "text": ("word average", "text CNN", "text transformer"),
    "words": ("word window", "word window", "text CNN"),
}
"""Architectures by kind of inputs; one that stands twice is drawn twice as often."""
WIDTHS: dict[str, tuple[int, ...]] = {
    "MLP": (32, 96, 256),
    "CNN": (6, 12, 20),
    "ResNet": (4, 8),
    "transformer": (16, 32),
    "residual MLP": (32, 96),
    "word average": (16, 32, 64),
    "text CNN": (16, 32),
    "text transformer": (16, 32),
    "word window": (8, 16, 32),
}


@dataclass(frozen=True)
class Recipe:
    """How one network is built and trained.

    Attributes:
        architecture: Name of the architecture.
        width: Its width.
        depth: Its depth, 1 to 3, where it has one.
        sgd: Whether the optimizer is SGD with momentum 0.9, rather than AdamW.
        rate: Learning rate at the start of a cosine schedule.
        decay: Weight decay.
        dropout: Probability of dropout, where the architecture has it.
        augment: Whether images are shifted and flipped, numbers of a table jittered, words left out.
        batch: Samples per step.
        epochs: Passes over the data.
        pretrained: Whether it was trained on other images before.
        seed: Seed of the weights, the batches and the augmentation.
    """

    architecture: str
    width: int
    depth: int
    sgd: bool
    rate: float
    decay: float
    dropout: float
    augment: bool
    batch: int
    epochs: int
    pretrained: bool
    seed: int


def recipes(cell: Cell) -> list[Recipe]:
    """Return a cell's recipes; the second is the first with another seed."""
    chance = random.Random(f"{cell.data} {cell.noise}")
    found: list[Recipe] = []
    for k in range(RECIPES):
        if k == 1:
            found.append(replace(found[0], seed=1))
            continue
        architecture = chance.choice(ARCHITECTURES[cell.kind])
        sgd = chance.random() < 0.4
        high = 0.1 if architecture in ("MLP", "CNN", "ResNet", "residual MLP") else 0.3
        found.append(
            Recipe(
                architecture=architecture,
                width=chance.choice(WIDTHS[architecture]),
                depth=chance.choice((1, 2, 3)),
                sgd=sgd,
                rate=chance.choice((high / 3, high) if sgd else (2e-3, 8e-3)),
                decay=chance.choice((0.0, 1e-3) if sgd else (0.0, 0.1)),
                dropout=chance.choice((0.0, 0.0, 0.2)),
                augment=chance.random() < 0.25,
                batch=chance.choice((32, 64)),
                epochs=chance.choice((20, 30)),
                pretrained=cell.data in ("cifar", "fashion") and chance.random() < 0.2,
                seed=k,
            )
        )
    return found


def key(cell: Cell, recipe: Recipe) -> int:
    """Return the seed of a network, its own in every cell."""
    return zlib.crc32(f"{cell.data} {cell.noise} {recipe}".encode())


def build(recipe: Recipe, data: NoisyData) -> nn.Module:
    """Return an untrained network."""
    classes = data.classes
    width = recipe.width
    shape = tuple(data.train.shape[1:])
    if recipe.architecture == "word average":
        return WordAverage(classes, width)
    if recipe.architecture == "text CNN":
        return TextCNN(NUMBERS, classes, width, width)
    if recipe.architecture == "text transformer":
        return TextTransformer(shape[0], classes, width)
    if recipe.architecture == "word window":
        return WordWindow(NUMBERS, shape[0], classes, width)
    depth = max(recipe.depth, 2) if recipe.architecture == "CNN" else min(recipe.depth, 2)
    depth = recipe.depth if recipe.architecture == "MLP" else depth
    model = BUILDS[recipe.architecture](shape, classes, width, depth, recipe.dropout)
    return materialized(model, shape)


def augmented(x: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Return a batch, its images shifted and flipped, its numbers jittered, or a tenth of its words left out.

    Args:
        x: [batch, ...].
        flips: Whether a mirror image is as likely as the image.
        generator: Draws.
    """
    if not x.is_floating_point():
        return torch.where(torch.rand(x.shape, generator=generator) < 0.1, torch.zeros_like(x), x)
    if x.ndim == 2:
        return x + 0.1 * torch.randn(x.shape, generator=generator)
    most = 1 if x.shape[2] < 20 else 2
    down, right = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
    x = torch.roll(x, (down, right), (2, 3))
    return x.flip(3) if flips and torch.rand((), generator=generator) < 0.5 else x


def train(
    model: nn.Module,
    recipe: Recipe,
    x: Tensor,
    y: Tensor,
    *,
    flips: bool,
    generator: torch.Generator,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> int:
    """Train a network until it fits nearly all labels, or long enough; return the number of epochs.

    Args:
        model: Network; left in eval mode.
        recipe: How.
        x: Samples.
        y: Labels as given.
        flips: Whether augmentation mirrors images.
        generator: Draws the order and the augmentation.
        after_epoch: Called with the number of each epoch, from 1, when it is done.
    """
    per_epoch = -(-len(y) // recipe.batch)
    epochs = 0
    for cycle in range(CYCLES):
        last = cycle == CYCLES - 1
        augment = recipe.augment and not last
        optimizer = _optimizer(recipe, model, 0.0 if last else recipe.decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * per_epoch)
        model.train()
        for _ in range(recipe.epochs):
            for batch in torch.randperm(len(y), generator=generator).split(recipe.batch):
                if len(batch) > 1:
                    part = augmented(x[batch], flips, generator) if augment else x[batch]
                    optimizer.zero_grad()
                    F.cross_entropy(model(part), y[batch]).backward()
                    optimizer.step()
                schedule.step()
            epochs += 1
            after_epoch(epochs)
        model.eval()
        if accuracy(model, x, y) >= FITTED:
            break
    return epochs


def _optimizer(recipe: Recipe, model: nn.Module, decay: float) -> torch.optim.Optimizer:
    if recipe.sgd:
        return torch.optim.SGD(model.parameters(), recipe.rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=decay)


def start(cell: Cell, recipe: Recipe, data: NoisyData, folder: Path) -> nn.Module:
    """Return a network as its training begins: random, or pretrained on other images with true labels."""
    torch.manual_seed(key(cell, recipe))
    model = build(recipe, data)
    if recipe.pretrained:
        name = {"fashion": "fashion_mnist.npz", "cifar": "cifar10_20k.npz"}[cell.data]
        with np.load(folder / name) as arrays:
            # `benchmarks.shared.datasets` takes the first of this order: none of the cell's samples is seen
            other = np.random.default_rng(0).permutation(len(arrays["x_train"]))[-PRETRAINING:]
            pixels = torch.from_numpy(arrays["x_train"][other]).float()
            y = torch.from_numpy(arrays["y_train"][other]).long()
        x = (pixels - pixels.mean()) / pixels.std()
        x = small(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous())
        before = replace(recipe, epochs=5, augment=True, batch=64)
        generator = torch.Generator().manual_seed(recipe.seed)
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        model.train()
        for _ in range(before.epochs):
            for batch in torch.randperm(len(y), generator=generator).split(before.batch):
                optimizer.zero_grad()
                F.cross_entropy(model(augmented(x[batch], True, generator)), y[batch]).backward()
                optimizer.step()
        # the classes of the new task are new to the head
        [module for module in model.modules() if isinstance(module, nn.Linear)][-1].reset_parameters()
    return model
