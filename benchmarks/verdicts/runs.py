"""Trains a cell's networks and saves what every way of judging needs of them.

A run is trained once and judged often: a change of a constant takes minutes, because leave-one-out scores,
answers, outside predictions and the peers' rankings are read from disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection.detectors import (
    checkpoint_scores,
    cleanlab,
    from_features,
    from_logits,
    from_trajectory,
)
from benchmarks.detection.scores import Scores
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import measure_model, predict_outside
from benchmarks.shared.training import accuracy, logits_of, train_epoch
from benchmarks.verdicts.cells import CACHE, Cell
from benchmarks.verdicts.networks import NETWORKS, Training
from benchmarks.verdicts.planted_noise import plant
from benchmarks.verdicts.samples import DATA_SETS
from benchmarks.verdicts.synthetic import draw, parse
from cohaudit.analysis.leave_one_out import leave_one_out

FOLDS = 5
"""Networks that give the out-of-fold answers."""
FITTED = 0.99
"""Share of the labels from which on a network counts as interpolating them."""
MAX_TEST = 1500
"""Test samples that choose the best epoch, at most."""


@dataclass(frozen=True)
class Stage:
    """What a checkpoint shows.

    Attributes:
        views: Leave-one-out scores by each of the layers' views, input side first, float32 [V, N, C].
        own: The network's own answers, float32 [N, C].
        peers: Name of a peer that sees the checkpoint, or the run so far → its score of each label, [N].
        epoch: Epochs of training.
        test_accuracy: Accuracy on test data.
    """

    views: NDArray[np.float32]
    own: NDArray[np.float32]
    peers: Scores
    epoch: int
    test_accuracy: float


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        cell: What was trained.
        labels: Labels as given, int64 [N].
        truth: True labels, int64 [N].
        folds: Out-of-fold answers of networks trained for the best number of epochs, float32 [N, C].
        outside: Predictions from the raw data, float32 [N, C].
        stages: Its checkpoints by the name of the stage.
    """

    cell: Cell
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    folds: NDArray[np.float32]
    outside: NDArray[np.float32]
    stages: dict[str, Stage]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which labels are wrong, [N]."""
        wrong: NDArray[np.bool_] = self.labels != self.truth
        return wrong


def noisy(cell: Cell, folder: Path) -> NoisyData:
    """Return a cell's samples, with the labels that its network is given."""
    rng = np.random.default_rng(cell.seed)
    if cell.synthetic:
        clean = draw(parse(cell.data), cell.seed)
        most = None
    else:
        source = DATA_SETS[cell.data]
        clean = source.load(folder, cell.seed)
        most = source.train
    if most is not None and len(clean.truth) > most:
        some = torch.from_numpy(rng.permutation(len(clean.truth))[:most])
        human = {name: labels[some] for name, labels in clean.human.items()}
        clean = replace(clean, train=clean.train[some], truth=clean.truth[some], human=human)
    labels = plant(clean, cell.noise, cell.seed)
    few = torch.from_numpy(rng.permutation(len(clean.test))[:MAX_TEST])
    return NoisyData(clean.train, labels, clean.truth, clean.test[few], clean.test_labels[few], clean.classes)


def train_cell(cell: Cell, folder: Path) -> None:
    """Train a cell and save what it shows, unless that was done before."""
    if cell.file.exists():
        return
    data = noisy(cell, folder)
    labels = data.labels.numpy()
    training = NETWORKS[cell.model]
    torch.manual_seed(cell.seed)
    start = _start(training, data, folder)
    model = training.build(data)
    model.load_state_dict(start)
    course = _train(training, model, data)
    outside = predict_outside(data.train, data.labels, data.classes, cell.seed)
    saved: dict[str, Any] = {"labels": labels, "truth": data.truth.numpy()}
    saved["outside"] = outside.probability.astype(np.float32)
    saved["folds"] = _out_of_fold(training, start, data, course.epochs["early"], cell.seed)
    for stage, epoch in course.epochs.items():
        model.load_state_dict(course.states[epoch - 1])
        for name, array in _measured(model.eval(), data, every_peer=cell.every_peer).items():
            saved[f"{stage}.{name}"] = array
        if epoch > 1:
            for name, score in from_trajectory(np.stack(course.logits[:epoch]), data.labels).items():
                saved[f"{stage}.peer.{name}"] = score.astype(np.float32)
        saved[f"{stage}.about"] = np.array([epoch, course.tests[epoch - 1]])
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = cell.file.with_suffix(".part.npz")
    np.savez(unfinished, **saved)
    unfinished.replace(cell.file)


def _start(training: Training, data: NoisyData, folder: Path) -> dict[str, Tensor]:
    """Return the weights to begin with: random ones, or pretrained on other images with right labels."""
    model = training.build(data)
    if training.pretrained:
        with np.load(folder / "cifar10_20k.npz") as arrays:
            x = torch.from_numpy(arrays["x_train"][-training.pretrained :]).float().div_(255)
            y = torch.from_numpy(arrays["y_train"][-training.pretrained :]).long()
        x = ((x - x.mean()) / x.std()).permute(0, 3, 1, 2).contiguous()
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        for _ in range(8):
            train_epoch(model, optimizer, x, y, 128)
        # the classes of the new task are new to the head
        [module for module in model.modules() if isinstance(module, nn.Linear)][-1].reset_parameters()
    return {name: value.clone() for name, value in model.state_dict().items()}


@dataclass(frozen=True)
class _Course:
    """A training run: its stages' epochs, and weights, logits and test accuracy after every epoch."""

    epochs: dict[str, int]
    states: list[dict[str, Tensor]]
    logits: list[NDArray[np.float16]]
    tests: list[float]


def _train(training: Training, model: nn.Module, data: NoisyData) -> _Course:
    optimizer = training.optimizer(model)
    states: list[dict[str, Tensor]] = []
    logits: list[NDArray[np.float16]] = []
    tests: list[float] = []
    fit = 0.0
    while len(states) < training.epochs and fit < FITTED:
        train_epoch(model, optimizer, data.train, data.labels, training.batch)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        tests.append(accuracy(model, data.test, data.test_labels))
        answers = logits_of(model, data.train)
        logits.append(answers.half().numpy())
        fit = (answers.argmax(1) == data.labels).double().mean().item()
    return _Course({"early": int(np.argmax(tests)) + 1, "interpolated": len(states)}, states, logits, tests)


def _measured(model: nn.Module, data: NoisyData, *, every_peer: bool) -> dict[str, NDArray[Any]]:
    """Return what is saved of a checkpoint; of the peers, the slow ones if wanted."""
    measured = measure_model(model, data.train, data.labels, data.classes)
    labels = data.labels.numpy()
    scores = [leave_one_out(view.rows, labels, data.classes).scores for view in measured.views]
    if every_peer:
        peers = checkpoint_scores(data, model, measured)
    else:
        logits = logits_of(model, data.train)
        peers = from_logits(logits, data.labels) | from_features(measured.views, labels)
    return {
        "views": np.stack(scores).astype(np.float32),
        "own": measured.probability.astype(np.float32),
    } | {f"peer.{name}": np.asarray(score, dtype=np.float32) for name, score in peers.items()}


def _out_of_fold(
    training: Training, start: dict[str, Tensor], data: NoisyData, epochs: int, seed: int
) -> NDArray[np.float32]:
    """Return each sample's class probabilities by a network trained on the other folds."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(seed))
    probability = torch.zeros(len(data.labels), data.classes)
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        rest = torch.ones(len(order), dtype=torch.bool)
        rest[held] = False
        torch.manual_seed(100 * seed + fold)
        model = training.build(data)
        if training.pretrained:
            model.load_state_dict(start)
        optimizer = training.optimizer(model)
        for _ in range(epochs):
            train_epoch(model, optimizer, data.train[rest], data.labels[rest], training.batch)
        probability[held] = F.softmax(logits_of(model, data.train[held]), 1)
    return probability.numpy()


def load_run(cell: Cell) -> Run:
    """Return a finished run from disk."""
    with np.load(cell.file) as saved:
        arrays = {name: saved[name] for name in saved.files}
    stages = {}
    # a network that is best when it interpolates has one checkpoint, which is judged once
    last = int(arrays["interpolated.about"][0])
    names = ["early"] if int(arrays["early.about"][0]) == last else ["early", "interpolated"]
    for stage in names:
        epoch, test = arrays[f"{stage}.about"].tolist()
        start = f"{stage}.peer."
        stages[stage] = Stage(
            views=arrays[f"{stage}.views"],
            own=arrays[f"{stage}.own"],
            peers={
                name.removeprefix(start): scores.astype(np.float64)
                for name, scores in arrays.items()
                if name.startswith(start)
            },
            epoch=int(epoch),
            test_accuracy=test,
        )
    return Run(cell, arrays["labels"], arrays["truth"], arrays["folds"], arrays["outside"], stages)


def fold_scores(run: Run) -> Scores:
    """Return cleanlab's scores of the labels from five networks trained out of fold, [N] each."""
    return {f"cleanlab, 5 folds, {name}": s for name, s in cleanlab(run.folds, run.labels).items()}
