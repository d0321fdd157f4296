"""How the network of a scan can be trained again: what builds it, and what trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from cohaudit.audits.optimizer_settings import optimizer_settings
from cohaudit.audits.optimizer_state import progress_of
from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.loading.model import build_model
from cohaudit.pipeline.crossfit.fit_function import FitFunction, checked_fit, load_fit
from cohaudit.pipeline.crossfit.recipe import Recorded, check_options, refuse_loop_options
from cohaudit.pipeline.crossfit.untrained import Factory, Untrained, by_reset, from_factory


@dataclass(frozen=True)
class Retraining:
    """How the network can be trained again.

    Attributes:
        untrained: Builds an untrained network from a seed.
        builder: What does so, for messages.
        fit: Function of the user's that trains it; None for the built-in loop.
        recorded: What the checkpoint says about its training run.
    """

    untrained: Untrained
    builder: str
    fit: FitFunction | None
    recorded: Recorded = field(default_factory=Recorded)


def retraining_from_files(config: Config, device: torch.device) -> Retraining | None:
    """Return how the configured network can be trained again; None if that is not asked for.

    Args:
        config: Settings.
        device: Device of the networks.

    Raises:
        ConfigError: If the settings contradict each other, or the function that trains cannot be imported.
    """
    if not config.crossfit:
        return None
    check_options(config)
    recipe = config.crossfit_recipe
    return Retraining(
        untrained=partial(build_model, config.model, config.model_args, config.base),
        builder=f"model {config.model}",
        fit=load_fit(recipe, config.base, device) if recipe else None,
    )


def retraining_in_memory(
    config: Config, model: nn.Module, factory: Factory | None, fit: Callable[..., Any] | None
) -> Retraining | None:
    """Return how a model in memory can be trained again; None if that is not asked for.

    Args:
        config: Settings.
        model: The trained network; copies of it are reset if there is no factory.
        factory: Function that returns an untrained network.
        fit: Function that trains one; None for the built-in loop.

    Raises:
        ConfigError: If a function is given and no cross-fit asked for, the settings contradict each other, or
            there is no factory and the model cannot be reset.
    """
    if not config.crossfit:
        for name, function in (("factory", factory), ("fit", fit)):
            if function is not None:
                raise ConfigError(name, "has no effect without a cross-fit", "ask for one: crossfit=5")
        return None
    check_options(config)
    if fit is not None:
        refuse_loop_options(config, "fit=…")
    device = next(model.parameters()).device
    return Retraining(
        untrained=by_reset(model) if factory is None else from_factory(factory, config.base),
        builder="model" if factory is None else "factory",
        fit=None if fit is None else checked_fit(fit, "fit", config.base, device),
    )


def recorded_in(checkpoint: Checkpoint) -> Recorded:
    """Return what a checkpoint says about its training run.

    Args:
        checkpoint: Checkpoint as read.
    """
    return Recorded(
        optimizer=optimizer_settings(checkpoint.optimizer),
        steps=progress_of(checkpoint.optimizer, checkpoint.metadata).steps,
        # some programs count epochs from 0: one less than were made
        epochs=0 if checkpoint.epoch is None else max(1, checkpoint.epoch),
    )
