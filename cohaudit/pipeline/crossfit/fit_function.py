"""A user's function that trains a network, in place of the built-in loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cohaudit.errors import ConfigError, ModelError
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.loading.model import check_ready
from cohaudit.pipeline.crossfit.training_data import TrainingData
from cohaudit.pipeline.crossfit.training_loop import TrainedNetwork

Fit = Callable[[nn.Module, Any], nn.Module | None]
"""Takes an untrained network and a map-style Dataset of (input, label); trains it, or returns another one."""


@dataclass(frozen=True)
class FitFunction:
    """Trains a network by a function of the user's.

    Attributes:
        function: The function.
        name: What names it, for messages.
        base: Folder whose modules it may import while it runs.
        device: Device of the networks.
    """

    function: Fit
    name: str
    base: Path
    device: torch.device

    @property
    def words(self) -> str:
        """The recipe in words."""
        return f"the function {self.name.rpartition(' ')[2]}"

    @property
    def passes(self) -> int:
        """Passes over its samples that a network is counted with: how many the function takes is unknown."""
        return 1

    def train(
        self, network: nn.Module, data: TrainingData, seed: int, advance: Callable[[int], None]
    ) -> TrainedNetwork:
        """Train a network; see `TrainingLoop.train`. The seed is in torch's, NumPy's and Python's generators.

        Raises:
            ConfigError: If the function changes the checkpoint or the data.
            ModelError: If it fails, returns no network, or leaves the network as it was.
        """
        before = [parameter.detach().clone() for parameter in network.parameters()]
        with torch.enable_grad():
            returned = call_factory(
                self.function, {}, self.base, where=self.name, failure=ModelError, given=(network, data)
            )
        advance(len(data))
        trained = network if returned is None else returned
        if not isinstance(trained, nn.Module):
            raise ModelError(
                self.name,
                f"returned {type(returned).__name__}, neither None nor a torch.nn.Module",
                "return the trained model, or nothing if the model that it was given is trained",
            )
        if trained is network and _unchanged(network, before):
            raise ModelError(
                self.name,
                "left the model that it was given as it was",
                "train that model, or return the one that is trained",
            )
        check_ready(trained, self.name)
        return TrainedNetwork(trained.to(self.device))


def load_fit(spec: str, base: Path, device: torch.device) -> FitFunction:
    """Import the function that the key `crossfit_recipe` names.

    Args:
        spec: `train.py:fit`, relative to `base`, or `package.module:fit`.
        base: Folder to search for relative files.
        device: Device of the networks.

    Raises:
        ConfigError: If it cannot be imported, or does not take a model and a dataset.
    """
    return checked_fit(load_object(spec, base, "crossfit_recipe"), f"crossfit_recipe {spec}", base, device)


def checked_fit(function: Any, name: str, base: Path, device: torch.device) -> FitFunction:
    """Return a function that trains, if it takes two arguments.

    Args:
        function: The function.
        name: What names it, for messages.
        base: Folder whose modules it may import while it runs.
        device: Device of the networks.

    Raises:
        ConfigError: If it is not callable, or does not take a model and a dataset.
    """
    remedy = "define it as: def fit(model, dataset)"
    if not callable(function):
        raise ConfigError(name, f"found a {type(function).__name__}, not a function", remedy)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a C function may have no signature: the call itself checks
        return FitFunction(function, name, base, device)
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigError(name, f"does not take a model and a dataset: {error}", remedy) from None
    return FitFunction(function, name, base, device)


def _unchanged(network: nn.Module, before: list[Tensor]) -> bool:
    """Return whether the parameters have the values that they had."""
    now = list(network.parameters())
    return len(now) == len(before) and all(
        a.shape == b.shape and torch.equal(a.to(b.device), b) for a, b in zip(now, before, strict=True)
    )
