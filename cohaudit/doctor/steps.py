"""The steps of `cohaudit doctor` that depend on the settings: from the device to the forecast.

They use the code that a scan uses, in the same order, so that what passes here runs there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cohaudit.config import Config
from cohaudit.doctor import checks
from cohaudit.doctor.crossfit_check import planned_crossfit
from cohaudit.doctor.dry_run import Rehearsal
from cohaudit.doctor.environment import devices
from cohaudit.doctor.finding import Finding
from cohaudit.doctor.forecast_check import Surroundings, forecast_finding
from cohaudit.doctor.step_runner import Opened, Part, Step, StepRunner
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.factories import guarding
from cohaudit.loading.model import resolve_device
from cohaudit.pipeline.crossfit.plan import CrossfitPlan
from cohaudit.untrusted import limiting

NAMED_CHECKPOINT = Part[Path]("a CHECKPOINT, and none was named")
"""The checkpoint that the user named."""
MODEL_SETTING = Part[str]("the setting model, and it is not set")
"""The model's factory."""
DATA_SETTING = Part[str]("the setting data, and it is not set")
"""Where the training data is."""
DEVICE = Part[torch.device]("the device")
"""Device to run on."""
CHECKPOINT = Part[Checkpoint]("the checkpoint")
"""The checkpoint, read."""
MODEL = Part[nn.Module]("the model")
"""The model, as its factory makes it."""
FITTED = Part[nn.Module]("weights that fit")
"""The model with the weights of the checkpoint."""
DATA = Part[LabeledDataset]("the data")
"""The training data, whole."""
HOLDOUT = Part[LabeledDataset]("the holdout")
"""The holdout, whole."""
FORWARD = Part[float]("a first batch that runs")
"""Seconds of a forward pass, per sample."""
DRY_RUN = Part[Rehearsal]("the gradients")
"""The scan of a few samples."""
CROSSFIT = Part[CrossfitPlan]("the cross-fit")
"""What the cross-fit will do, and its time."""


def examine_parts(config: Config, checkpoints: Sequence[Path], start: float) -> Iterator[Finding]:
    """Try every part of a scan, one finding after the other.

    Args:
        config: Settings of the scan.
        checkpoints: Checkpoints, oldest first; without any, the model is tried as its factory makes it.
        start: Seconds that the scan's imports took.
    """
    runner = StepRunner()
    if checkpoints:
        runner.opened.add(NAMED_CHECKPOINT, checkpoints[-1])
    if config.model:
        runner.opened.add(MODEL_SETTING, config.model)
    if config.data:
        runner.opened.add(DATA_SETTING, config.data)
    files = [config.base / path for path in (config.data, config.holdout) if path]
    # user code runs here as in a scan: it must not change the files that are checked
    with limiting(config.read_memory, config.read_seconds), guarding(*checkpoints, *files):
        yield from runner.run(_opening_steps(config, checkpoints))
        earlier = len(checkpoints) - 1 if checkpoints else None
        yield from runner.run(_running_steps(config, earlier, start, runner))


def _opening_steps(config: Config, checkpoints: Sequence[Path]) -> list[Step[Any]]:
    """Return the steps that open what the settings name."""

    def read_checkpoint(opened: Opened) -> tuple[Finding, Checkpoint]:
        return checks.opened_checkpoint(
            opened[NAMED_CHECKPOINT],
            config.weights,
            config.trust_checkpoint,
            prefix=config.prefix,
            ignored=config.ignore_keys,
        )

    return [
        Step("device", (), lambda opened: (devices(config.device), resolve_device(config.device)), DEVICE),
        Step("checkpoint", (NAMED_CHECKPOINT,), read_checkpoint, CHECKPOINT, timed=True),
        Step("model", (MODEL_SETTING,), lambda opened: checks.built_model(config), MODEL, timed=True),
        # before the audited checkpoint, whose weights the model must have in the end
        *(_earlier_step(path, config) for path in checkpoints[:-1]),
        Step(
            "weights",
            (NAMED_CHECKPOINT, MODEL, CHECKPOINT),
            lambda opened: checks.fitted_weights(opened[MODEL], opened[CHECKPOINT]),
            FITTED,
            timed=True,
        ),
        Step("data", (DATA_SETTING,), lambda opened: checks.opened_data(config), DATA, timed=True),
    ]


def _earlier_step(path: Path, config: Config) -> Step[None]:
    check = f"earlier {path.name}"
    return Step(check, (MODEL,), lambda opened: checks.fitted_earlier(check, path, opened[MODEL], config))


def _running_steps(config: Config, earlier: int | None, start: float, runner: StepRunner) -> list[Step[Any]]:
    """Return the steps that run the model.

    Args:
        config: Settings of the scan.
        earlier: Number of earlier checkpoints; None if no checkpoint was named.
        start: Seconds that the scan's imports took.
        runner: Runs the steps; it knows how long the opening took.
    """
    trained = earlier is not None
    # without a checkpoint the model is tried untrained: shapes and layers can be checked all the same
    ready = FITTED if trained else MODEL

    def open_holdout(opened: Opened) -> tuple[Finding, LabeledDataset]:
        can_run = ready in opened and DEVICE in opened
        model = opened[ready].to(opened[DEVICE]) if can_run else None
        return checks.opened_holdout(config, opened[DATA], model)

    def run_batch(opened: Opened) -> tuple[Finding, float]:
        model = opened[ready].to(opened[DEVICE])
        return checks.first_batch(model, opened[DATA], config, opened[DEVICE], trained)

    def scan_a_few(opened: Opened) -> tuple[Finding, Rehearsal]:
        return checks.measured(opened[ready], opened[DATA], config, not trained)

    def plan(opened: Opened) -> tuple[Finding, CrossfitPlan]:
        return planned_crossfit(config, opened[CHECKPOINT], opened[FITTED], opened[DATA])

    def forecast(opened: Opened) -> tuple[Finding, None]:
        around = Surroundings(
            start=start,
            opening=runner.seconds,
            forward=opened[FORWARD],
            holdout=len(opened[HOLDOUT]) if HOLDOUT in opened else 0,
            earlier=earlier or 0,
            crossfit=opened[CROSSFIT].seconds or 0.0 if CROSSFIT in opened else 0.0,
        )
        return forecast_finding(opened[DRY_RUN], config, around, opened[DEVICE]), None

    return [
        *([Step("holdout", (DATA,), open_holdout, HOLDOUT)] if config.holdout else []),
        # timed as well: the first call of a model loads code of torch's, in a scan too
        Step("first batch", (DEVICE, ready, DATA), run_batch, FORWARD, timed=True),
        Step("gradients", (DEVICE, ready, DATA, FORWARD), scan_a_few, DRY_RUN),
        # after the gradients: a model that cannot be measured is not trained again
        *(
            [Step("cross-fit", (CHECKPOINT, FITTED, DATA, DRY_RUN), plan, CROSSFIT)]
            if config.crossfit
            else []
        ),
        Step("forecast", (DRY_RUN,), forecast),
    ]
