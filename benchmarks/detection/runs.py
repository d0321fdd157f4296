"""Training runs whose checkpoints the detection benchmark judges; kept on disk once done.

One run gives a checkpoint of every stage, five even ones, the logits of every sample after every epoch
(for what needs the whole run), and predictions out of five folds (for what needs five trainings).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.datasets import WORDS, Noisy, noisy
from benchmarks.shared.networks import TransformerBlock, resnet18

CACHE = paths.CACHE / "detection"
INTERPOLATED = 0.995
"""Share of the labels that can be fitted that a network fits when it counts as interpolated."""
STAGES = ("underfit", "best", "interpolated", "over-trained")
FOLDS = 5


@dataclass(frozen=True)
class Case:
    """What is trained on what."""

    data: str
    noise: str
    model: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where its run is kept."""
        text = " ".join(map(str, asdict(self).values()))
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return CACHE / ("".join(c if c.isalnum() else "-" for c in text) + "-" + digest)


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
        told = (x > 0).unsqueeze(2)
        out: Tensor = self.head((hidden * told).sum(1) / told.sum(1).clamp_min(1))
        return out


def _cnn(side: int, channels: int, classes: int) -> nn.Module:
    """Return a network of three convolutions and two dense layers."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def _perceptron(inputs: int, classes: int, width: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU()),
        *(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)),
    )


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained.

    Attributes:
        build: Samples → the untrained network.
        sgd: Whether by SGD with momentum 0.9, rather than Adam.
        rate: Learning rate.
        epochs: Most passes over the data.
        batch: Samples per step.
    """

    build: Callable[[Noisy], nn.Module]
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
    "MLP, SGD": Recipe(lambda d: _perceptron(d.train[0].numel(), d.classes, 256), True, 0.02, 500),
    "MLP, Adam": Recipe(lambda d: _perceptron(d.train[0].numel(), d.classes, 256), False, 1e-3, 800),
    "CNN, Adam": Recipe(lambda d: _cnn(d.train.shape[-1], d.train.shape[1], d.classes), False, 1e-3, 400),
    "ResNet, SGD": Recipe(lambda d: resnet18(8, d.classes), True, 0.05, 80),
    "transformer, Adam": Recipe(lambda d: TextTransformer(d.train.shape[1], d.classes), False, 1e-3, 80),
}
"""Networks by name."""


TABLE: tuple[tuple[str, str, tuple[str, ...], int], ...] = (
    ("fashion", "CNN, Adam", ("20 %",), 3),
    ("digits", "MLP, SGD", ("20 %", "10 %", "0 %"), 3),
    ("digits", "CNN, Adam", ("20 %", "10 %", "0 %"), 3),
    ("labelme", "MLP, Adam", ("majority", "one annotator"), 3),
    ("trec", "transformer, Adam", ("20 %", "10 %"), 3),
    ("adult", "MLP, Adam", ("20 %", "10 %"), 3),
    ("fashion", "MLP, SGD", ("20 %",), 3),
    ("sentiment", "transformer, Adam", ("majority", "one annotator"), 3),
    ("cifar", "CNN, Adam", ("20 %",), 3),
    ("cifar", "ResNet, SGD", ("20 %",), 3),
    ("fashion", "CNN, Adam", ("20 % by class", "10 %", "0 %", "40 %", "5 %"), 3),
    ("cifar", "ResNet, SGD", ("20 % by class", "40 %", "10 %", "5 %", "0 %"), 1),
)
"""Data, network, noise, and number of seeds."""


def cases() -> list[Case]:
    """Return all cases, seed by seed."""
    return [
        Case(data, noise, model, seed)
        for seed in range(max(seeds for *_, seeds in TABLE))
        for data, model, noises, seeds in TABLE
        for noise in noises
        if seed < seeds
    ]


class Run:
    """A finished run.

    Args:
        case: Which.
        data: Folder of the data.
    """

    def __init__(self, case: Case, data: Path) -> None:
        self.case = case
        self.data = noisy(case.data, case.noise, case.seed, data)
        about = json.loads((case.folder / "run.json").read_text(encoding="utf-8"))
        self.epochs: dict[str, int] = about["epochs"]
        """Stage → epochs trained; a stage that was not reached is missing."""
        self.train_accuracy: list[float] = about["train_accuracy"]
        self.test_accuracy: list[float] = about["test_accuracy"]

    @cached_property
    def logits(self) -> NDArray[np.float16]:
        """Logits after each epoch, [epochs, samples, classes]."""
        return np.asarray(np.load(self.case.folder / "logits.npy"))

    @cached_property
    def out_of_fold(self) -> NDArray[np.float32]:
        """Class probabilities of each sample from a network that was trained without it."""
        return np.asarray(np.load(self.case.folder / "folds.npy"))

    def checkpoint(self, epoch: int) -> nn.Module:
        """Return the network after an epoch that was kept, in eval mode."""
        model = RECIPES[self.case.model].build(self.data)
        model.load_state_dict(load_file(self.case.folder / f"{epoch:03}.safetensors"))
        return model.eval()

    def even(self, stage: str) -> list[int]:
        """Return five epochs, evenly spaced, the last one the stage's."""
        return even(self.epochs[stage])


def even(last: int, count: int = 5) -> list[int]:
    """Return `count` epochs, evenly spaced up to the last one."""
    return sorted({max(1, round(last * k / count)) for k in range(1, count + 1)})


def train(case: Case, folder: Path) -> None:
    """Train a case and keep all that is needed of it; nothing is done where it is already there."""
    if (case.folder / "run.json").exists():
        return
    data, recipe = noisy(case.data, case.noise, case.seed, folder), RECIPES[case.model]
    case.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(case.seed)
    model = recipe.build(data)
    optimizer = recipe.optimizer(model)
    states: list[dict[str, Tensor]] = []
    logits: list[NDArray[np.float16]] = []
    fits: list[float] = []
    tests: list[float] = []
    epochs: dict[str, int] = {}
    bound = INTERPOLATED * _fittable(data)
    while len(states) < epochs.get("over-trained", recipe.epochs):
        train_epoch(model, optimizer, data.train, data.labels, recipe.batch)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        given = _logits(model, data.train)
        logits.append(given.half().numpy())
        fits.append((given.argmax(1) == data.labels).double().mean().item())
        tests.append(accuracy(model, data.test, data.test_labels))
        if fits[-1] >= bound and "interpolated" not in epochs:
            epochs["interpolated"] = len(states)
            epochs["over-trained"] = min(recipe.epochs, 2 * len(states))
    epochs["best"] = int(np.argmax(tests)) + 1
    epochs["underfit"] = max(1, epochs["best"] // 3)
    wanted = {epoch for last in epochs.values() for epoch in [*even(last), last]}
    for epoch in wanted:
        save_file(states[epoch - 1], case.folder / f"{epoch:03}.safetensors")
    np.save(case.folder / "logits.npy", np.stack(logits))
    np.save(case.folder / "folds.npy", _out_of_fold(case, data, recipe, epochs["best"]))
    about = {"epochs": epochs, "train_accuracy": fits, "test_accuracy": tests}
    (case.folder / "run.json").write_text(json.dumps(about), encoding="utf-8")


def _fittable(data: Noisy) -> float:
    """Return the largest share of the labels that any function gives: of equal samples, labels may differ."""
    samples = data.train.flatten(1).numpy()
    _, group = np.unique(samples, axis=0, return_inverse=True)
    counts = np.zeros((group.max() + 1, data.classes))
    np.add.at(counts, (group, data.labels.numpy()), 1)
    return float(counts.max(1).sum() / len(samples))


def _out_of_fold(case: Case, data: Noisy, recipe: Recipe, epochs: int) -> NDArray[np.float32]:
    """Return class probabilities from networks trained on the other folds for the best number of epochs."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(case.seed))
    found = torch.zeros(len(data.labels), data.classes)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        rest = torch.ones(len(order), dtype=torch.bool)
        rest[held] = False
        torch.manual_seed(100 * case.seed + fold)
        model = recipe.build(data)
        optimizer = recipe.optimizer(model)
        for _ in range(epochs):
            train_epoch(model, optimizer, data.train[rest], data.labels[rest], recipe.batch)
        found[held] = F.softmax(_logits(model, data.train[held]), 1)
    return found.numpy()


def fit(model: nn.Module, recipe: Recipe, inputs: Tensor, labels: Tensor, share: float) -> int:
    """Train a network until it gives this share of the labels, and return the epochs that took.

    At most as many as the recipe's; the network is left in eval mode.
    """
    optimizer = recipe.optimizer(model)
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(model, optimizer, inputs, labels, recipe.batch)
        if accuracy(model, inputs, labels) >= share:
            return epoch
    return recipe.epochs


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of the labels that a network gives."""
    return (_logits(model, inputs).argmax(1) == labels).double().mean().item()


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, size: int
) -> None:
    """Train for one pass over the samples, in a random order; the network is left in eval mode."""
    model.train()
    for batch in torch.randperm(len(labels)).split(size):
        if len(batch) == 1:
            continue  # batch norm needs two
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(x) for x in inputs.split(500)])
