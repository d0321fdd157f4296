"""Second-split forgetting: wrong labels are forgotten first once a network is trained on other samples.

Maini, Garg, Lipton & Kolter, "Characterizing Datapoints via Second-Split Forgetting", NeurIPS 2022. It needs
two training runs of its own, each on one half of the data and then on the other.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.detection.scores import Array
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.recipes import Recipe, train_until
from benchmarks.shared.training import logits_of, train_epoch

Labeled = tuple[Tensor, Tensor]
"""Inputs [samples, ...] and their labels, int64 [samples]."""

SECOND_EPOCHS = 20
"""Passes over the second half: on digits, four of five wrong labels are forgotten within four."""


def forgetting_time(
    model: nn.Module, recipe: Recipe, first: Labeled, second: Labeled, epochs: int = SECOND_EPOCHS
) -> Array:
    """Return the epoch on the second samples from which on each first one is wrong forever, [first].

    0 if it was wrong before and ever after, and epochs + 1 if it is right at the end.

    Args:
        model: Network trained on the first samples; it stays as it is.
        recipe: How it is trained on.
        first: Samples that may be forgotten.
        second: Samples that it is trained on.
        epochs: Number of passes over them.
    """
    model = copy.deepcopy(model)
    inputs, labels = first
    right = [logits_of(model, inputs).argmax(1) == labels]
    optimizer = recipe.optimizer(model)
    for _ in range(epochs):
        train_epoch(model, optimizer, *second, recipe.batch)
        right.append(logits_of(model, inputs).argmax(1) == labels)
    return wrong_from(torch.stack(right))


def wrong_from(right: Tensor) -> Array:
    """Return the step after the last one at which a sample is right, from bool [steps, N]; 0 if never."""
    steps = torch.arange(1, len(right) + 1)[:, None]
    return (right * steps).amax(0).double().numpy()


def second_split_forgetting(data: NoisyData, recipe: Recipe, seed: int, epochs: int = SECOND_EPOCHS) -> Array:
    """Return minus the second-split forgetting time: higher where a label is forgotten sooner.

    Each half is the first one once: a network is trained until it fits it, and then on the other half.
    """
    found = np.empty(len(data.labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        halves = torch.randperm(len(data.labels)).chunk(2)
        for own, other in (halves, halves[::-1]):
            first = (data.train[own], data.labels[own])
            model = recipe.build(data)
            train_until(recipe, model, *first)
            second = (data.train[other], data.labels[other])
            found[own.numpy()] = -forgetting_time(model, recipe, first, second, epochs)
    return found
