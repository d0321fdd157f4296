"""A small data set, a small network and plans to train copies of it, for the tests of the cross-fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.pipeline.crossfit.fit_function import FitFunction
from cohaudit.pipeline.crossfit.folds import assign_folds
from cohaudit.pipeline.crossfit.plan import CrossfitPlan
from cohaudit.pipeline.crossfit.recipe import Recorded, loop_recipe
from cohaudit.pipeline.crossfit.stage import FoldTraining
from cohaudit.pipeline.crossfit.training_loop import TrainingLoop
from cohaudit.pipeline.crossfit.untrained import Untrained, from_factory

CPU = torch.device("cpu")
CLASSES = 3
FEATURES = 5


def clouds(samples: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, float32 [N, 5], and labels, int64 [N], of three clouds that overlap a little."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % CLASSES
    centers = 2 * rng.normal(size=(CLASSES, FEATURES))
    return (centers[labels] + rng.normal(size=(samples, FEATURES))).astype(np.float32), labels


def build() -> nn.Module:
    """Return an untrained network with everything that is different in training mode."""
    return nn.Sequential(
        nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES)
    )


def source_of(inputs: Any, labels: np.ndarray, classes: int = CLASSES) -> Source:
    """Return samples as a scan has them."""
    tensor = torch.as_tensor(inputs)
    return Source(
        load=lambda indices: tensor[list(indices)],
        labels=labels,
        ids=[str(i) for i in range(len(labels))],
        class_names=[f"class {c}" for c in range(classes)],
    )


def loop(samples: int = 60, **settings: Any) -> TrainingLoop:
    """Return the built-in loop with these settings of the cross-fit, without `crossfit_` before them."""
    config = Config().updated({f"crossfit_{name}": value for name, value in settings.items()})
    return TrainingLoop(loop_recipe(config, Recorded(), samples), CPU)


def fold_training(
    source: Source,
    trainer: TrainingLoop | FitFunction,
    *,
    count: int = 3,
    untrained: Untrained | None = None,
    folds: np.ndarray | None = None,
) -> FoldTraining:
    """Return what trains and predicts the folds of some samples."""
    if folds is None:
        folds = assign_folds(source.labels, range(len(source.labels)), count, 0)
    plan = CrossfitPlan(
        folds=folds,
        count=count,
        untrained=untrained or from_factory(build, Config().base),
        trainer=trainer,
        seed=0,
        seconds=None,
        unseen=0,
        notices=(),
    )
    return FoldTraining(plan, source, nn.Linear(1, 1), CPU, 16)


def fit_function(function: Callable[..., Any]) -> FitFunction:
    """Return a function as the cross-fit calls it."""
    return FitFunction(function, "crossfit_recipe train.py:fit", Config().base, CPU)


def relabeled(source: Source, sample: int) -> Source:
    """Return the samples with another label of one of them."""
    labels = source.labels.copy()
    labels[sample] = (labels[sample] + 1) % len(source.class_names)
    return replace(source, labels=labels)


def learned_network(inputs: np.ndarray, labels: np.ndarray, seed: int = 0) -> nn.Module:
    """Return a network that was trained on all samples, in eval mode."""
    torch.manual_seed(seed)
    network = build()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(torch.tensor(inputs)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.zero_grad(set_to_none=True)
    return network.eval()
