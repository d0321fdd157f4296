"""Training runs whose checkpoints the detection benchmark judges; saved on disk once done.

A run gives a checkpoint of every stage, five evenly spaced ones, the logits of every sample after every epoch
(for methods that need the whole run), and out-of-fold predictions (for methods that need five training runs).
"""

from __future__ import annotations

import hashlib
import json
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
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.recipes import INTERPOLATED, RECIPES, Recipe
from benchmarks.shared.training import accuracy, logits_of, train_epoch

CACHE = paths.CACHE / "detection"
"""Folder of the runs."""
STAGES = ("underfit", "best", "interpolated", "over-trained")
"""Stages of a training run at which the methods are compared."""
FOLDS = 5
"""Training runs that give the out-of-fold predictions."""
CASE_KEYS = ("data", "noise", "model", "seed")
"""Figures of a row that tell which case it is about."""


@dataclass(frozen=True)
class Case:
    """A network, and the data that it is trained on.

    Attributes:
        data: Name of the data set.
        noise: Name of the label noise; see `load_noisy`.
        model: Name of the recipe.
        seed: Seed of the samples, the flips, the weights and the order of the batches.
    """

    data: str
    noise: str
    model: str
    seed: int

    def about(self) -> dict[str, str | int]:
        """Return what a row of results says of its case: CASE_KEYS."""
        return asdict(self)

    @property
    def folder(self) -> Path:
        """Folder in which its run is saved."""
        text = " ".join(map(str, asdict(self).values()))
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return CACHE / ("".join(c if c.isalnum() else "-" for c in text) + "-" + digest)


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
"""Data, network, kinds of label noise, and number of seeds."""


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
        case: Case that was trained.
        data: Folder of the data.
    """

    def __init__(self, case: Case, data: Path) -> None:
        self.case = case
        self.data = load_noisy(case.data, case.noise, case.seed, data)
        about = json.loads((case.folder / "run.json").read_text(encoding="utf-8"))
        self.epochs: dict[str, int] = about["epochs"]
        """Number of epochs of each stage; a stage that was not reached is missing."""
        self.train_accuracy: list[float] = about["train_accuracy"]
        self.test_accuracy: list[float] = about["test_accuracy"]

    @cached_property
    def logits(self) -> NDArray[np.float16]:
        """Logits after each epoch, [epochs, samples, classes]."""
        return np.asarray(np.load(self.case.folder / "logits.npy"))

    @cached_property
    def out_of_fold(self) -> NDArray[np.float32]:
        """Class probabilities of each sample by a network trained without it, [samples, classes]."""
        return np.asarray(np.load(self.case.folder / "folds.npy"))

    def checkpoint(self, epoch: int) -> nn.Module:
        """Return the network after an epoch whose weights were saved, in eval mode."""
        model = RECIPES[self.case.model].build(self.data)
        model.load_state_dict(load_file(self.case.folder / f"{epoch:03}.safetensors"))
        return model.eval()

    def even(self, stage: str) -> list[int]:
        """Return five evenly spaced epochs, the last of them the stage's."""
        return even_epochs(self.epochs[stage])


def even_epochs(last: int, count: int = 5) -> list[int]:
    """Return `count` epochs, evenly spaced up to the last one."""
    return sorted({max(1, round(last * k / count)) for k in range(1, count + 1)})


def train_case(case: Case, folder: Path) -> None:
    """Train a case and save all that the methods need of it, unless that was done before."""
    if (case.folder / "run.json").exists():
        return
    data = load_noisy(case.data, case.noise, case.seed, folder)
    recipe = RECIPES[case.model]
    case.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(case.seed)
    model = recipe.build(data)
    optimizer = recipe.optimizer(model)
    states: list[dict[str, Tensor]] = []
    logits: list[NDArray[np.float16]] = []
    fits: list[float] = []
    tests: list[float] = []
    epochs: dict[str, int] = {}
    bound = INTERPOLATED * largest_fit(data)
    while len(states) < epochs.get("over-trained", recipe.epochs):
        train_epoch(model, optimizer, data.train, data.labels, recipe.batch)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        predicted = logits_of(model, data.train)
        logits.append(predicted.half().numpy())
        fits.append((predicted.argmax(1) == data.labels).double().mean().item())
        tests.append(accuracy(model, data.test, data.test_labels))
        if fits[-1] >= bound and "interpolated" not in epochs:
            epochs["interpolated"] = len(states)
            epochs["over-trained"] = min(recipe.epochs, 2 * len(states))
    epochs["best"] = int(np.argmax(tests)) + 1
    epochs["underfit"] = max(1, epochs["best"] // 3)
    wanted = {epoch for last in epochs.values() for epoch in [*even_epochs(last), last]}
    for epoch in wanted:
        save_file(states[epoch - 1], case.folder / f"{epoch:03}.safetensors")
    np.save(case.folder / "logits.npy", np.stack(logits))
    np.save(case.folder / "folds.npy", _out_of_fold(case, data, recipe, epochs["best"]))
    about = {"epochs": epochs, "train_accuracy": fits, "test_accuracy": tests}
    (case.folder / "run.json").write_text(json.dumps(about), encoding="utf-8")


def largest_fit(data: NoisyData) -> float:
    """Return the largest share of the labels that any function can fit; equal samples may carry two."""
    samples = data.train.flatten(1).numpy()
    _, group = np.unique(samples, axis=0, return_inverse=True)
    counts = np.zeros((group.max() + 1, data.classes))
    np.add.at(counts, (group, data.labels.numpy()), 1)
    return float(counts.max(1).sum() / len(samples))


def _out_of_fold(case: Case, data: NoisyData, recipe: Recipe, epochs: int) -> NDArray[np.float32]:
    """Return class probabilities from networks trained on the other folds for the best number of epochs."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(case.seed))
    probability = torch.zeros(len(data.labels), data.classes)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        rest = torch.ones(len(order), dtype=torch.bool)
        rest[held] = False
        torch.manual_seed(100 * case.seed + fold)
        model = recipe.build(data)
        optimizer = recipe.optimizer(model)
        for _ in range(epochs):
            train_epoch(model, optimizer, data.train[rest], data.labels[rest], recipe.batch)
        probability[held] = F.softmax(logits_of(model, data.train[held]), 1)
    return probability.numpy()
