"""Training runs on data with known wrong labels; saved on disk once done.

A run gives a checkpoint of every stage, and out-of-fold predictions for methods that need five training runs.
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
        """Number of epochs until the best test accuracy ("best"), until nearly all labels are fitted
        ("interpolated") and of as many again ("over-trained"); a stage that was not reached is missing."""
        self.test_accuracy: list[float] = about["test_accuracy"]

    @cached_property
    def out_of_fold(self) -> NDArray[np.float32]:
        """Class probabilities of each sample by a network trained without it, [samples, classes]."""
        return np.asarray(np.load(self.case.folder / "folds.npy"))

    def checkpoint(self, epoch: int) -> nn.Module:
        """Return the network after an epoch whose weights were saved, in eval mode."""
        model = RECIPES[self.case.model].build(self.data)
        model.load_state_dict(load_file(self.case.folder / f"{epoch:03}.safetensors"))
        return model.eval()


def train_case(case: Case, folder: Path) -> None:
    """Train a case and save what a run gives, unless that was done before."""
    if (case.folder / "run.json").exists():
        return
    data = load_noisy(case.data, case.noise, case.seed, folder)
    recipe = RECIPES[case.model]
    case.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(case.seed)
    model = recipe.build(data)
    optimizer = recipe.optimizer(model)
    states: list[dict[str, Tensor]] = []
    tests: list[float] = []
    epochs: dict[str, int] = {}
    bound = INTERPOLATED * largest_fit(data)
    while len(states) < epochs.get("over-trained", recipe.epochs):
        train_epoch(model, optimizer, data.train, data.labels, recipe.batch)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        predicted = logits_of(model, data.train)
        fit = (predicted.argmax(1) == data.labels).double().mean().item()
        tests.append(accuracy(model, data.test, data.test_labels))
        if fit >= bound and "interpolated" not in epochs:
            epochs["interpolated"] = len(states)
            epochs["over-trained"] = min(recipe.epochs, 2 * len(states))
    epochs["best"] = int(np.argmax(tests)) + 1
    for epoch in set(epochs.values()):
        save_file(states[epoch - 1], case.folder / f"{epoch:03}.safetensors")
    np.save(case.folder / "folds.npy", _out_of_fold(case, data, recipe, epochs["best"]))
    about = {"epochs": epochs, "test_accuracy": tests}
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
