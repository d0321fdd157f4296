"""The parts of a scan that `cohaudit doctor` tries: checkpoint, model, data, a batch, gradients, forecast."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from cohaudit.audit import eval_mode
from cohaudit.checkpoint import Checkpoint, check_finite, load_checkpoint
from cohaudit.config import Config
from cohaudit.data import LabeledDataset, describe_inputs, open_dataset
from cohaudit.doctor_forecast import told_forecast
from cohaudit.factories import guarding
from cohaudit.finding import Finding, attempt, not_run
from cohaudit.gradients import Source, answers, check_model
from cohaudit.holdout import check_fit, open_holdout
from cohaudit.machine import devices
from cohaudit.model import build_model, load_weights, resolve_device
from cohaudit.rehearsal import Rehearsal, rehearse
from cohaudit.sanity import is_skilled

Found = TypeVar("Found")
NO_CHECKPOINT = "a CHECKPOINT, and none was named"
UNTRAINED = "untrained weights, as no CHECKPOINT was named: "


class Parts:
    """Opens one part after the other, and keeps those that opened for the ones that need them.

    Args:
        config: Settings of the scan.
        checkpoints: In the order of the training; none tries the model as its factory makes it.
        start: Seconds that the scan's imports took.
    """

    def __init__(self, config: Config, checkpoints: Sequence[Path], start: float) -> None:
        self._config, self._checkpoints = config, checkpoints
        self._seconds = {"start": start, "open": 0.0}
        self._device: torch.device | None = None
        self._checkpoint: Checkpoint | None = None
        self._model: nn.Module | None = None
        self._fitted = False
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
        path, config = self._checkpoints[-1], self._config
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
        model, config, earlier = self._model, self._config, self._checkpoints[:-1]
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
        model, checkpoint = self._model, self._checkpoint
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
        dataset, config = self._dataset, self._config
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
        return trained and self._model is not None and self._device is not None

    def _missing(self) -> str:
        fits = self._fitted or not self._checkpoints
        have = {
            "the device": self._device is not None,
            "the model": self._model is not None,
            "weights that fit": fits,
            "the data": self._dataset is not None,
        }
        return ", ".join(name for name, there in have.items() if not there)

    def _first_batch(self) -> Finding:
        model, dataset, device = self._model, self._dataset, self._device
        if not self._ready() or model is None or dataset is None or device is None:
            return not_run("first batch", self._missing())
        trained = bool(self._checkpoints)
        found, passed = attempt(
            "first batch", lambda: first_batch(model.to(device), dataset, self._config, device, trained)
        )
        if passed is None:
            self._fitted, self._model = False, None
        else:
            self._seconds["forward"] = passed
        return found

    def _rehearse(self) -> Iterator[Finding]:
        model, dataset, device = self._model, self._dataset, self._device
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
        yield told_forecast(
            done, self._config, self._seconds, device, holdout, max(0, len(self._checkpoints) - 1)
        )


def opened_checkpoint(path: Path, weights: str, trust: bool) -> tuple[Finding, Checkpoint]:
    """Open a checkpoint, and look for weights that are no numbers.

    Args:
        path: The file.
        weights: Which state dict of several.
        trust: Allow formats whose opening can run code.

    Raises:
        CheckpointError: If it cannot be used.
    """
    opened = load_checkpoint(path, weights=weights, trust=trust)
    check_finite(opened.tensors, opened.path)
    dtypes = Counter[str]()
    for tensor in opened.tensors.values():
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    count = dtypes.total()
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in dtypes.most_common())
    words = (
        f"{opened.path}: {opened.format}, {len(opened.tensors)} tensors, {kinds}; sha256 {opened.sha256[:12]}"
    )
    figures = {
        "format": opened.format,
        "tensors": len(opened.tensors),
        "numbers": count,
        "dtypes": ", ".join(dtypes),
        "sha256": opened.sha256,
    }
    return Finding("checkpoint", "ok", words, figures=figures), opened


def built_model(config: Config) -> tuple[Finding, nn.Module]:
    """Build the model with the user's factory.

    Args:
        config: Settings.

    Raises:
        CohauditError: If that fails.
    """
    model = build_model(config.model, config.model_args, config.base)
    count = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    words = f"{config.model}: {type(model).__name__}, {count:,} parameters"
    words += f", {frozen:,} of them frozen, which are not measured" * bool(frozen)
    figures = {"class": type(model).__name__, "parameters": count, "frozen": frozen}
    return Finding("model", "ok", words, figures=figures), model


def fitted_weights(model: nn.Module, checkpoint: Checkpoint) -> tuple[Finding, bool]:
    """Load the checkpoint into the model.

    Args:
        model: As the factory made it.
        checkpoint: Opened.

    Raises:
        CohauditError: If names or shapes do not fit; tells which are missing and which left over.
    """
    prefix = load_weights(model, checkpoint)
    words = f"{checkpoint.origin}: every weight of the model is there, and none is left over"
    words += f"; prefix {prefix} taken off" * bool(prefix)
    return Finding("weights", "ok", words, figures={"from": checkpoint.origin, "prefix": prefix}), True


def opened_data(config: Config) -> tuple[Finding, LabeledDataset]:
    """Open the training data.

    Args:
        config: Settings.

    Raises:
        CohauditError: If it cannot be used.
    """
    dataset = open_dataset(config)
    sizes = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    smallest = int(sizes.argmin())
    inputs = describe_inputs(dataset)
    words = f"{dataset.source}: {len(dataset):,} samples of {len(sizes)} classes; {inputs}"
    words += f"; sha256 {dataset.fingerprint[:12]}"
    figures = {
        "samples": len(dataset),
        "classes": len(sizes),
        "smallest_class": int(sizes[smallest]),
        "inputs": inputs,
        "sha256": dataset.fingerprint,
    }
    if sizes[smallest] < 2:
        lonely = f"{words}; class {dataset.class_names[smallest]!r} has one sample"
        remedy = "add samples of that class: one tells nothing of what they have in common"
        return Finding("data", "warning", lonely, remedy, figures), dataset
    return Finding("data", "ok", words, figures=figures), dataset


def first_batch(
    model: nn.Module, dataset: LabeledDataset, config: Config, device: torch.device, trained: bool
) -> tuple[Finding, float]:
    """Let the model answer one batch, drawn evenly from the classes.

    Args:
        model: On `device`.
        dataset: The training data.
        config: Settings.
        device: Where.
        trained: Whether it has the weights of a checkpoint.

    Returns:
        The finding, and the seconds that a sample took.

    Raises:
        CohauditError: If model and data do not fit.
    """
    by_class = np.argsort(dataset.labels, kind="stable")
    places = np.linspace(0, len(dataset) - 1, min(config.batch_size, len(dataset))).astype(int)
    chosen = by_class[places]
    source = Source(
        load=lambda indices: dataset.batch(chosen[list(indices)].tolist()),
        labels=dataset.labels[chosen],
        ids=[dataset.ids[i] for i in chosen],
        class_names=dataset.class_names,
    )
    with eval_mode(model):
        check_model(model, source, device)
        start = time.perf_counter()
        probability = answers(model, source, config.batch_size, device, lambda _: None)
        seconds = time.perf_counter() - start
    labels, predicted = source.labels, probability.argmax(1)
    right = float(np.mean(predicted == labels))
    of_label = probability[np.arange(len(labels)), labels].astype(np.float64)
    loss = float(-np.log(of_label.clip(np.finfo(np.float32).tiny)).mean())
    words = f"{UNTRAINED * (not trained)}{len(labels)} samples give {list(probability.shape)} answers, "
    words += f"{right:.0%} of them the label, loss {loss:.3g}, in {seconds:.2g} s"
    figures = {"samples": len(labels), "outputs": probability.shape[1], "accuracy": right, "loss": loss}
    present, own = np.unique(labels, return_inverse=True)
    if trained and not is_skilled(np.where(predicted == labels, own, -1), own, max(2, len(present))):
        remedy = "check that checkpoint, transform and the order of class_names are those of the training"
        found = f"{words}: hardly better than chance"
        return Finding("first batch", "warning", found, remedy, figures), seconds / len(labels)
    return Finding("first batch", "ok", words, figures=figures), seconds / len(labels)


def measured(
    model: nn.Module, dataset: LabeledDataset, config: Config, untrained: bool
) -> tuple[Finding, Rehearsal]:
    """Scan a few samples.

    Args:
        model: On its device.
        dataset: The training data.
        config: Settings.
        untrained: Whether the model has no weights of a checkpoint.

    Raises:
        CohauditError: If a scan would stop.
    """
    done = rehearse(model, dataset, config)
    audit, paths = done.audit, Counter(layer.path for layer in done.audit.layers)
    certificate = audit.certificate
    told = ", ".join(f"{count} by {path}" for path, count in paths.items())
    worst = max((check.error / check.tolerance for check in certificate.checks), default=0.0)
    words = (
        f"{UNTRAINED * untrained}a scan of {done.samples:,} samples ran; {len(audit.layers)} layers ({told}), "
        f"{certificate.parameter_coverage:.1%} of the parameters; certificate at {worst:.1%} of its tolerance"
    )
    figures = {
        "samples": done.samples,
        "layers": len(audit.layers),
        "looped_layers": paths["loop"],
        "coverage": certificate.parameter_coverage,
        "auditable": audit.sanity.auditable,
    }
    if not untrained and not audit.sanity.auditable:
        remedy = "do so before the scan: it would give no verdict"
        return Finding("gradients", "warning", f"{words}. {audit.sanity.reason}", remedy, figures), done
    return Finding("gradients", "ok", words, figures=figures), done
