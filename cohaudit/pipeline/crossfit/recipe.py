"""How the copies are trained by default: from the options, else from the checkpoint, else usual values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cohaudit.audits.optimizer_settings import OptimizerName, OptimizerSettings
from cohaudit.config import Config
from cohaudit.config.file import option_name
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results.wording import compact

DEFAULTS: dict[OptimizerName, OptimizerSettings] = {
    "adam": OptimizerSettings("adam", 0.001, 0.001),
    "adamw": OptimizerSettings("adamw", 0.001, 0.001, weight_decay=0.01),
    "sgd": OptimizerSettings("sgd", 0.05, 0.05, momentum=0.9),
}
"""Settings where neither the options nor the checkpoint give any: torch's own, and for SGD, whose own
learning rate torch does not dare to choose and whose momentum is 0, values at which small networks learn."""
TITLES: dict[OptimizerName, str] = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
"""Optimizer → its name in texts."""
BATCH_SIZES = (8, 64)
"""Smallest and largest default batch size."""
STEPS_PER_EPOCH = 20
"""Steps of an epoch that the default batch size aims at: small data need small batches to learn at all in a
bearable number of epochs."""
MAX_EPOCHS = 100
"""Epochs after which training ends if it was not stopped earlier; few runs get there."""
LOOP_OPTIONS = ("crossfit_optimizer", "crossfit_lr", "crossfit_epochs", "crossfit_batch_size")
"""Settings of the built-in loop, which a function of the user's replaces."""


@dataclass(frozen=True)
class Recorded:
    """What a checkpoint says about its training run.

    Attributes:
        optimizer: Optimizer; None if it is unknown, or not one that can be built again.
        steps: Gradient steps made; −1 if unknown.
        epochs: Epochs made; 0 if unknown.
    """

    optimizer: OptimizerSettings | None = None
    steps: int = -1
    epochs: int = 0


@dataclass(frozen=True)
class Recipe:
    """How the built-in loop trains a network.

    Attributes:
        optimizer: Optimizer. Its learning rate falls from `lr` to `last_lr` along a cosine, if they differ.
        batch_size: Samples per step.
        epochs: Epochs; 0 stops early: when the loss on a held-out part of the training folds no longer
            improves, and returns to the weights at which it was least.
        words: The recipe, and where it comes from, in words.
    """

    optimizer: OptimizerSettings
    batch_size: int
    epochs: int
    words: str

    @property
    def max_epochs(self) -> int:
        """Most epochs that the loop takes."""
        return self.epochs or MAX_EPOCHS


def check_options(config: Config) -> None:
    """Refuse settings of the cross-fit that contradict each other.

    Raises:
        ConfigError: If there is one fold, the optimizer is unknown, or an option has no effect beside a
            function that trains.
    """
    if config.crossfit == 1:
        remedy = "give at least 2, usually 5, or 0 to train nothing"
        raise ConfigError("--crossfit 1", "with one fold there is no other to train on", remedy)
    if config.crossfit_optimizer and config.crossfit_optimizer not in TITLES:
        raise ConfigError(
            f"--crossfit-optimizer {config.crossfit_optimizer}",
            "is none of the optimizers that the built-in loop knows",
            f"{did_you_mean(config.crossfit_optimizer, TITLES)} For another, name a function that trains: "
            "--crossfit-recipe train.py:fit",
        )
    if config.crossfit_recipe:
        refuse_loop_options(config, f"--crossfit-recipe {config.crossfit_recipe}")


def refuse_loop_options(config: Config, beside: str) -> None:
    """Refuse options of the built-in loop beside a function that replaces it.

    Args:
        config: Settings.
        beside: What names the function, for the message.

    Raises:
        ConfigError: If one is set.
    """
    for key in LOOP_OPTIONS:
        if getattr(config, key):
            raise ConfigError(
                option_name(key), f"has no effect beside {beside}", "set it in the function, or leave one out"
            )


def loop_recipe(config: Config, recorded: Recorded, samples: int) -> Recipe:
    """Return the recipe of the built-in loop: each setting from the options, the checkpoint or the defaults.

    Args:
        config: Settings, which `check_options` has accepted.
        recorded: What the checkpoint says about its training run.
        samples: Samples of the whole data.
    """
    optimizer, optimizer_from = _optimizer(config, recorded)
    batch_size, batch_from = _batch_size(config, recorded, samples)
    epochs, epochs_from = _epochs(config, recorded, samples, batch_size)
    if not epochs:  # a schedule has no length to stretch over
        optimizer = replace(optimizer, last_lr=optimizer.lr)
    duration = (
        f"{epochs} epoch{'s' * (epochs > 1)} ({epochs_from})"
        if epochs
        else f"early stopping on a tenth of the training folds, at most {MAX_EPOCHS} epochs ({epochs_from})"
    )
    words = f"{_in_words(optimizer)} ({optimizer_from}), batches of {batch_size} ({batch_from}), {duration}"
    return Recipe(optimizer, batch_size, epochs, words)


def _optimizer(config: Config, recorded: Recorded) -> tuple[OptimizerSettings, str]:
    """Return the optimizer, and where its settings come from."""
    own = recorded.optimizer
    chosen = config.crossfit_optimizer
    # the learning rate of another optimizer says nothing: SGD's are a hundred times those of Adam
    used = own if own is not None and chosen in {"", own.name} else None
    source = "from the checkpoint" if used is not None else "default"
    settings = used or next((one for name, one in DEFAULTS.items() if name == chosen), DEFAULTS["adam"])
    if config.crossfit_lr:
        settings = replace(settings, lr=config.crossfit_lr, last_lr=config.crossfit_lr)
    if chosen and used is None:
        source = "as set"
    elif config.crossfit_lr:
        source += ", learning rate as set"
    return settings, source


def _batch_size(config: Config, recorded: Recorded, samples: int) -> tuple[int, str]:
    if config.crossfit_batch_size:
        return config.crossfit_batch_size, "as set"
    if recorded.epochs and recorded.steps > 0:
        implied = round(samples * recorded.epochs / recorded.steps)
        if 1 < implied <= samples:
            return implied, "from the checkpoint's steps and epochs"
    smallest, largest = BATCH_SIZES
    return min(max(samples // STEPS_PER_EPOCH, smallest), largest), "default"


def _epochs(config: Config, recorded: Recorded, samples: int, batch_size: int) -> tuple[int, str]:
    if config.crossfit_epochs:
        return config.crossfit_epochs, "as set"
    if recorded.epochs:
        return recorded.epochs, "from the checkpoint"
    if recorded.steps > 0 and config.steps_per_epoch:
        return max(1, round(recorded.steps / config.steps_per_epoch)), "from the checkpoint's steps"
    return 0, "default"


def _in_words(optimizer: OptimizerSettings) -> str:
    parts = [f"{TITLES[optimizer.name]} with learning rate {compact(optimizer.lr)}"]
    if not math.isclose(optimizer.lr, optimizer.last_lr):
        parts.append(f"falling to {compact(optimizer.last_lr)} along a cosine")
    if optimizer.momentum:
        parts.append(f"{'Nesterov ' * optimizer.nesterov}momentum {compact(optimizer.momentum)}")
    if optimizer.name != "sgd" and optimizer.betas != (0.9, 0.999):
        parts.append(f"betas {compact(optimizer.betas[0])} and {compact(optimizer.betas[1])}")
    if optimizer.weight_decay:
        parts.append(f"weight decay {compact(optimizer.weight_decay)}")
    return ", ".join(parts)
