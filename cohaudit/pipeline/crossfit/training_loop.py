"""The built-in training loop: plain minibatch descent on the cross-entropy, in one process on one device."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cohaudit.errors import CohauditError, EngineError, ModelError, describe_error
from cohaudit.gradients.checks.probe import to_model
from cohaudit.gradients.residuals import logits_of, one_per_class
from cohaudit.gradients.tracing.trace import call
from cohaudit.pipeline.crossfit.folds import assign_folds
from cohaudit.pipeline.crossfit.recipe import Recipe
from cohaudit.pipeline.crossfit.training_data import TrainingData

STOPPING_PARTS = 10
"""The loss that stops the training is measured on one of this many parts of the training folds."""
PATIENCE = 8
"""Epochs without a smaller loss on that part after which training stops."""
MIN_SAMPLES_TO_STOP = 20
"""Fewest training samples of which a part can be spared; with fewer, all epochs are taken."""
WARM_UP_STEPS = 2
"""Steps that are not timed: the first ones load code and fill caches."""
TIMED_STEPS = (5, 40)
"""Fewest and most steps that a forecast is measured on."""
TIMED_SECONDS = 0.5
"""Time after which the fewest steps suffice: short enough to wait for, long beside the jitter of a clock."""
FORWARD_SHARE = 1 / 3
"""Time of a forward pass over that of a training step: the backward pass takes about two."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A network after training.

    Attributes:
        network: The network.
        epochs: Epochs that were taken; 0 if unknown.
    """

    network: nn.Module
    epochs: int = 0


@dataclass(frozen=True)
class TrainingLoop:
    """Trains a network by the recipe.

    Attributes:
        recipe: How.
        device: Device of the networks.
    """

    recipe: Recipe
    device: torch.device

    @property
    def words(self) -> str:
        """The recipe in words."""
        return self.recipe.words

    @property
    def passes(self) -> int:
        """Most passes over its samples that a network takes."""
        return self.recipe.max_epochs

    def train(
        self, network: nn.Module, data: TrainingData, seed: int, advance: Callable[[int], None]
    ) -> TrainedNetwork:
        """Train a network in place.

        Args:
            network: On the device.
            data: Samples to train on, at least two.
            seed: Seed of the order of the samples, and of the part that stops the training.
            advance: Called with the number of samples that the network was trained on.

        Raises:
            ModelError: If the network fails in training mode, or has no parameter to train.
            EngineError: If the loss is no longer finite, or memory does not suffice.
        """
        rng = np.random.default_rng(seed)
        recipe = self.recipe
        trained_on, watched = (data, None) if recipe.epochs else _split(data, seed)
        optimizer = _build_optimizer(network, recipe)
        stopping = EarlyStopping(network)
        epoch = 0
        for epoch in range(1, recipe.max_epochs + 1):
            _set_learning_rate(optimizer, recipe, epoch)
            self._epoch(network, optimizer, trained_on, rng, epoch)
            advance(len(data))
            if watched is not None and stopping.is_over(self._loss_on(network, watched)):
                break
        if watched is not None:
            stopping.restore_best()
        advance((recipe.max_epochs - epoch) * len(data))
        return TrainedNetwork(network, epoch)

    def seconds_per_network(self, network: nn.Module, data: TrainingData) -> float:
        """Return the most seconds that training one network will take, measured on a few steps.

        Args:
            network: On the device; its weights change.
            data: Samples that it would be trained on.

        Raises:
            CohauditError: As for `train`.
        """
        optimizer = _build_optimizer(network, self.recipe)
        network.train()
        batches = list(_batches(np.arange(len(data)), self.recipe.batch_size))
        fewest, most = TIMED_STEPS
        start = taken = 0.0
        done = 0
        for step in range(WARM_UP_STEPS + most):
            # the loss is read at once, so that the time of a GPU's kernels is in it
            float(self._step(network, optimizer, data, batches[step % len(batches)]))
            done = step + 1 - WARM_UP_STEPS
            if done == 0:
                start = time.perf_counter()
            taken = time.perf_counter() - start
            if done >= fewest and taken >= TIMED_SECONDS:
                break
        watching = 0.0 if self.recipe.epochs else FORWARD_SHARE / STOPPING_PARTS
        return taken / done * len(batches) * self.recipe.max_epochs * (1 + watching)

    def _epoch(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        data: TrainingData,
        rng: np.random.Generator,
        epoch: int,
    ) -> None:
        network.train()
        total = torch.zeros((), device=self.device)
        for indices in _batches(rng.permutation(len(data)), self.recipe.batch_size):
            total += self._step(network, optimizer, data, indices)
        # once an epoch: reading it after every step would make a GPU wait
        if not math.isfinite(float(total)):
            raise EngineError(
                f"--crossfit-lr {self.recipe.optimizer.lr:g}",
                f"the training loss is not finite after epoch {epoch}",
                "lower the learning rate, or train by a function of yours: --crossfit-recipe train.py:fit",
            )

    def _step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, data: TrainingData, indices: Any
    ) -> Tensor:
        """Take one step, and return the sum of the batch's losses before it."""
        inputs, labels = data.batch(indices)
        with torch.enable_grad(), _training_errors(self.recipe.batch_size, self.device):
            loss = self._loss(network, inputs, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return loss.detach() * len(labels)

    def _loss(self, network: nn.Module, inputs: Any, labels: Tensor) -> Tensor:
        output = call(network, to_model(inputs, network, self.device))
        # in float32: the cross-entropy of 16-bit logits would lose most of its digits
        logits = one_per_class(logits_of(output)).float()
        return functional.cross_entropy(logits, labels.to(logits.device))

    def _loss_on(self, network: nn.Module, data: TrainingData) -> float:
        """Return the mean loss on samples that the network is not trained on."""
        network.eval()
        total = 0.0
        with torch.no_grad(), _training_errors(self.recipe.batch_size, self.device):
            for indices in _batches(np.arange(len(data)), self.recipe.batch_size):
                inputs, labels = data.batch(indices)
                total += float(self._loss(network, inputs, labels)) * len(labels)
        return total / len(data)


@dataclass
class EarlyStopping:
    """Keeps the weights with the least loss on held-out samples.

    Attributes:
        network: The network in training.
    """

    network: nn.Module
    _best: float = math.inf
    _weights: dict[str, Any] | None = None
    _without: int = field(default=0)

    def is_over(self, loss: float) -> bool:
        """Note the loss after an epoch; return whether training should stop.

        Args:
            loss: Mean loss on the held-out samples; NaN is no improvement.
        """
        if loss < self._best:
            self._best = loss
            self._weights = copy.deepcopy(self.network.state_dict())
            self._without = 0
        else:
            self._without += 1
        return self._without >= PATIENCE

    def restore_best(self) -> None:
        """Load the weights with the least loss, if any loss was finite."""
        if self._weights is not None:
            self.network.load_state_dict(self._weights)


def _split(data: TrainingData, seed: int) -> tuple[TrainingData, TrainingData | None]:
    """Return the part to train on and the part to watch, stratified by class; None if there are too few."""
    if len(data) < MIN_SAMPLES_TO_STOP:
        return data, None
    parts = assign_folds(data.labels, range(len(data)), STOPPING_PARTS, seed)
    return data.part(np.flatnonzero(parts)), data.part(np.flatnonzero(parts == 0))


def _batches(order: NDArray[np.int64], size: int) -> Iterator[list[int]]:
    """Yield batches of about equal size: a last batch of one sample would stop BatchNorm with an error."""
    count = -(-len(order) // size)
    if count > 1 and len(order) // count < 2:
        count = len(order) // 2
    for part in np.array_split(order, count):
        yield part.tolist()


def _build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        raise ModelError(
            "model",
            "none of its parameters requires a gradient, so that no copy can be trained",
            "return the model with the parameters that training changes not frozen",
        )
    settings = recipe.optimizer
    match settings.name:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                settings.lr,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
            )
        case "adam":
            return torch.optim.Adam(
                parameters, settings.lr, settings.betas, weight_decay=settings.weight_decay
            )
        case "adamw":
            return torch.optim.AdamW(
                parameters, settings.lr, settings.betas, weight_decay=settings.weight_decay
            )


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    """Set the rate of an epoch, from 1, on the cosine from the first rate to the last."""
    settings = recipe.optimizer
    done = (epoch - 1) / max(1, recipe.max_epochs - 1)
    rate = settings.last_lr + (settings.lr - settings.last_lr) * (1 + math.cos(math.pi * done)) / 2
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def _training_errors(batch_size: int, device: torch.device) -> Iterator[None]:
    """Turn the failure of a step into an error that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"--crossfit-batch-size {batch_size}",
            f"{device} has too little memory for a training step",
            "use a smaller batch size, or --device cpu",
        ) from error
    except CohauditError:
        raise
    except Exception as error:  # user code can raise anything
        raise ModelError(
            "model",
            f"a step of training fails: {describe_error(error)}",
            "correct its forward in training mode, or train by a function of yours: "
            "--crossfit-recipe train.py:fit",
        ) from error
