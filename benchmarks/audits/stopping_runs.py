"""Training runs with a checkpoint every few epochs, for the benchmark of early stopping; saved once done.

Each network is trained twice: on all samples, for the rules that need no holdout; and on nine tenths of them,
with patience on the rest, as is usual. The holdout has as many wrong labels as the training samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.shared import paths
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.recipes import RECIPES, Recipe
from benchmarks.shared.training import accuracy, train_epoch

CACHE = paths.CACHE / "stopping"
NOISES = ("0 %", "10 %", "20 %", "40 %")
"""Kinds of label noise; see `load_noisy`."""
MAX_SAMPLES = 3000
"""Largest number of training samples."""
HELD_OUT = 10
"""One sample in this many is held out."""
PATIENCE = 8
"""Epochs without a better accuracy on the holdout after which training stops."""


@dataclass(frozen=True)
class Training:
    """A network, and the data that it is trained on.

    Attributes:
        data: Name of the data set.
        model: Name of the architecture: that of a recipe, before the comma.
        sgd: Whether the optimizer is SGD with momentum, rather than Adam.
        noise: Name of the label noise; see `load_noisy`.
        seed: Seed of the samples, the labels flipped and the weights.
    """

    data: str
    model: str
    sgd: bool
    noise: str
    seed: int

    @property
    def name(self) -> str:
        """Return its unique name."""
        return f"{self.data} {self.model} {'SGD' if self.sgd else 'Adam'} {self.noise} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of its checkpoints."""
        return CACHE / self.name.replace(" %", "").replace(" ", "-")

    def checkpoints(self) -> list[Path]:
        """Return the files of its checkpoints, in their order."""
        return sorted(self.folder.glob("epoch-*.safetensors"))

    def state(self, path: Path) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint."""
        return load_file(path)

    def about(self) -> dict[str, object]:
        """Return the accuracies by epoch, and those of the run with a holdout."""
        found: dict[str, object] = json.loads((self.folder / "run.json").read_text())
        return found


IMAGES = (1, 2, 3, 4, 6, 8, 11, 15, 21, 30, 42)
EPOCHS = {"digits": (1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 130), "fashion": IMAGES, "cifar": IMAGES}
"""Epochs after which a checkpoint is saved."""
NETWORKS = (("digits", "MLP"), ("fashion", "CNN"), ("cifar", "CNN"))
SEEDS = {"digits": 2, "fashion": 1, "cifar": 2}
"""Number of seeds of each data set."""
RATES = {True: 0.02, False: 1e-3}


def trainings() -> list[Training]:
    """Return all training runs, seed by seed."""
    return [
        Training(data, model, sgd, noise, seed)
        for seed in range(max(SEEDS.values()))
        for data, model in NETWORKS
        for sgd in (True, False)
        for noise in NOISES
        if seed < SEEDS[data]
    ]


def samples(training: Training, folder: Path) -> NoisyData:
    """Return the samples to train on, and to test on."""
    return load_noisy(training.data, training.noise, training.seed, folder).first(MAX_SAMPLES)


def build(training: Training, data: NoisyData) -> nn.Module:
    """Return the untrained network."""
    torch.manual_seed(training.seed)
    return _recipe(training).build(data)


def _recipe(training: Training) -> Recipe:
    built = RECIPES[f"{training.model}, Adam"]
    epochs = EPOCHS[training.data][-1]
    return Recipe(built.build, training.sgd, RATES[training.sgd], epochs, built.batch)


def train(training: Training, folder: Path) -> None:
    """Train, unless that was done before."""
    if (training.folder / "run.json").exists():
        return
    training.folder.mkdir(parents=True, exist_ok=True)
    data = samples(training, folder)
    wrong = data.wrong
    model = build(training, data)
    recipe = _recipe(training)
    optimizer = recipe.optimizer(model)
    rows = []
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(model, optimizer, data.train, data.labels, recipe.batch)
        if epoch not in EPOCHS[training.data]:
            continue
        save_file(model.state_dict(), training.folder / f"epoch-{epoch:03}.safetensors")
        fitted = accuracy(model, data.train[wrong], data.labels[wrong]) if wrong.any() else None
        train = accuracy(model, data.train, data.labels)
        test = accuracy(model, data.test, data.test_labels)
        rows.append({"epoch": epoch, "train": train, "wrong fitted": fitted, "test": test})
    about = {"checkpoints": rows, "patience": _with_holdout(training, data)}
    (training.folder / "run.json").write_text(json.dumps(about), encoding="utf-8")


def _with_holdout(training: Training, data: NoisyData) -> dict[str, float]:
    """Train on nine tenths until the accuracy on the rest stops rising; return the best epoch's figures."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(training.seed))
    held = order[: len(order) // HELD_OUT]
    rest = order[len(order) // HELD_OUT :]
    model = build(training, data)
    recipe = _recipe(training)
    optimizer = recipe.optimizer(model)
    best = -1.0
    found = {}
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(model, optimizer, data.train[rest], data.labels[rest], recipe.batch)
        value = accuracy(model, data.train[held], data.labels[held])
        if value > best:
            best = value
            test = accuracy(model, data.test, data.test_labels)
            found = {"epoch": epoch, "holdout": value, "test": test}
        elif epoch - found["epoch"] >= PATIENCE:
            break
    return found
