"""The parts of a scan that `cohaudit doctor` tries: checkpoint, model, data, a batch, gradients, forecast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from cohaudit.config import Config
from cohaudit.doctor.checks import (
    built_model,
    first_batch,
    fitted_weights,
    measured,
    opened_checkpoint,
    opened_data,
)
from cohaudit.doctor.environment import devices
from cohaudit.doctor.finding import Finding, attempt, not_run
from cohaudit.doctor.forecast_check import forecast_finding
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.loading.data import LabeledDataset, describe_inputs
from cohaudit.loading.factories import guarding
from cohaudit.loading.model import eval_mode, load_weights, resolve_device
from cohaudit.pipeline.holdout_data import check_fit, open_holdout

Found = TypeVar("Found")
NO_CHECKPOINT = "a CHECKPOINT, and none was named"


class Parts:
    """Opens one part after the other, and keeps those that opened for the ones that need them.

    Args:
        config: Settings of the scan.
        checkpoints: In the order of the training; none tries the model as its factory makes it.
        start: Seconds that the scan's imports took.
    """

    def __init__(self, config: Config, checkpoints: Sequence[Path], start: float) -> None:
        self._config = config
        self._checkpoints = checkpoints
        self._seconds = {"start": start, "open": 0.0}
        self._device: torch.device | None = None
        self._checkpoint: Checkpoint | None = None
        self._model: nn.Module | None = None
        self._fitted = False
        self._answers = True
        self._dataset: LabeledDataset | None = None
        self._holdout: LabeledDataset | None = None

    def examine(self) -> Iterator[Finding]:
        """Try all parts in order."""
        config = self._config
        files = [config.base / path for path in (config.data, config.holdout) if path]
        with guarding(*self._checkpoints, *files):
            found, _ = attempt("device", lambda: (devices(config.device), None))
            yield found
            if found.status != "failed":
                self._device = resolve_device(config.device)
            yield self._open_checkpoint()
            yield self._build()
            yield from self._earlier()
            yield self._fit()
            yield self._open_data()
            if config.holdout:
                yield self._open_holdout()
            yield self._first_batch()
            yield from self._rehearse()

    def _timed(self, check: str, run: Callable[[], tuple[Finding, Found]]) -> tuple[Finding, Found | None]:
        start = time.perf_counter()
        found = attempt(check, run)
        self._seconds["open"] += time.perf_counter() - start
        return found

    def _open_checkpoint(self) -> Finding:
        if not self._checkpoints:
            return not_run("checkpoint", NO_CHECKPOINT)
        path = self._checkpoints[-1]
        config = self._config
        found, self._checkpoint = self._timed(
            "checkpoint", lambda: opened_checkpoint(path, config.weights, config.trust_checkpoint)
        )
        return found

    def _build(self) -> Finding:
        config = self._config
        if not config.model:
            return not_run("model", "the setting model, and it is not set")
        found, self._model = self._timed("model", lambda: built_model(config))
        return found

    def _earlier(self) -> Iterator[Finding]:
        """Load the earlier checkpoints one after the other; the audited one follows."""
        model = self._model
        config = self._config
        earlier = self._checkpoints[:-1]
        for path in earlier:
            if model is None:
                yield not_run(f"earlier {path.name}", "the model")
                continue

            def load(path: Path = path, model: nn.Module = model) -> tuple[Finding, None]:
                opened = load_checkpoint(path, weights=config.weights, trust=config.trust_checkpoint)
                load_weights(model, opened)
                return Finding(f"earlier {path.name}", "ok", f"{path} fits the model"), None

            yield attempt(f"earlier {path.name}", load)[0]

    def _fit(self) -> Finding:
        model = self._model
        checkpoint = self._checkpoint
        if model is None or checkpoint is None:
            what = [
                name for name, part in (("the model", model), ("the checkpoint", checkpoint)) if part is None
            ]
            return not_run("weights", " and ".join(what) if self._checkpoints else NO_CHECKPOINT)
        found, fitted = self._timed("weights", lambda: fitted_weights(model, checkpoint))
        self._fitted = fitted is not None
        return found

    def _open_data(self) -> Finding:
        config = self._config
        if not config.data:
            return not_run("data", "the setting data, and it is not set")
        found, self._dataset = self._timed("data", lambda: opened_data(config))
        return found

    def _open_holdout(self) -> Finding:
        dataset = self._dataset
        config = self._config
        if dataset is None:
            return not_run("holdout", "the data")

        def run() -> tuple[Finding, LabeledDataset | None]:
            opened = open_holdout(config.holdout, dataset, config)
            assert opened is not None
            if self._ready():
                assert self._model is not None
                assert self._device is not None
                model = self._model.to(self._device)
                with eval_mode(model):
                    check_fit(model, opened, config, self._device)
            words = f"{opened.source}: {len(opened):,} samples; {describe_inputs(opened)}"
            return Finding("holdout", "ok", words, figures={"samples": len(opened)}), opened

        found, self._holdout = attempt("holdout", run)
        return found

    def _ready(self) -> bool:
        """Return whether the model can be called; without a checkpoint, as its factory made it."""
        trained = self._fitted or not self._checkpoints
        return trained and self._answers and self._model is not None and self._device is not None

    def _missing(self) -> str:
        fits = self._fitted or not self._checkpoints
        have = {
            "the device": self._device is not None,
            "the model": self._model is not None,
            "weights that fit": fits,
            "the data": self._dataset is not None,
            "a first batch that runs": self._answers,
        }
        return ", ".join(name for name, there in have.items() if not there)

    def _first_batch(self) -> Finding:
        model = self._model
        dataset = self._dataset
        device = self._device
        if not self._ready() or model is None or dataset is None or device is None:
            return not_run("first batch", self._missing())
        trained = bool(self._checkpoints)
        # timed with what is opened: a first call of the model loads code of torch's, in a scan as well
        found, passed = self._timed(
            "first batch", lambda: first_batch(model.to(device), dataset, self._config, device, trained)
        )
        if passed is None:
            self._answers = False
        else:
            self._seconds["forward"] = passed
        return found

    def _rehearse(self) -> Iterator[Finding]:
        model = self._model
        dataset = self._dataset
        device = self._device
        if model is None or dataset is None or device is None or not self._ready():
            missing = self._missing()
            yield not_run("gradients", missing)
            yield not_run("forecast", missing)
            return
        found, done = attempt(
            "gradients", lambda: measured(model, dataset, self._config, not self._checkpoints)
        )
        yield found
        if done is None:
            yield not_run("forecast", "the gradients")
            return
        holdout = len(self._holdout) if self._holdout is not None else 0
        yield forecast_finding(
            done, self._config, self._seconds, device, holdout, max(0, len(self._checkpoints) - 1)
        )
