"""What one scan is about: a model and its data, built from files or taken from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.audits.checkpoint_inspection import decay_of, memory_of
from cohaudit.audits.optimizer_state import OptimizerProgress, progress_of
from cohaudit.audits.training.earlier_predictions import CheckpointOpener, checkpoint_openers
from cohaudit.config import Config
from cohaudit.errors import ModelError
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.loading.data import IN_MEMORY, LabeledDataset, as_dataset, open_dataset
from cohaudit.loading.encoder import Encoder, open_encoder
from cohaudit.loading.features import read_features
from cohaudit.loading.model import build_model, check_ready, load_weights, resolve_device
from cohaudit.pipeline.crossfit.fit_function import Fit
from cohaudit.pipeline.crossfit.retraining import (
    Retraining,
    recorded_in,
    retraining_from_files,
    retraining_in_memory,
)
from cohaudit.pipeline.crossfit.untrained import Factory
from cohaudit.pipeline.holdout_data import open_holdout
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.results import Memory, Skipped, TrainedDecay

SNAPSHOTS_FOLDER = "snapshots"
"""Folder, inside the report's, of what was measured at each checkpoint of a training run."""
ROOT_LAYER = "(model)"
"""Layer name of parameters that the model itself owns; torch gives the root module an empty name."""


@dataclass(frozen=True)
class Provenance:
    """Where the model came from, and what its checkpoint says about its training run.

    Attributes:
        checkpoint: Path of the checkpoint as the user gave it.
        sha256: Hash of its content; empty for a model in memory.
        file_format: Format of the file, in words.
        model: The model's factory, or its class for a model in memory.
        memory: What the optimizer remembers of the gradients.
        decay: Weight decay that the model was trained with.
        progress: Steps and learning rate of the optimizer.
    """

    checkpoint: str
    sha256: str
    file_format: str
    model: str
    memory: Memory | Skipped
    decay: TrainedDecay | Skipped
    progress: OptimizerProgress


@dataclass(frozen=True)
class ScanSubject:
    """What one scan is about.

    Attributes:
        model: The trained network, on `device`.
        dataset: Its training data, whole.
        holdout: Samples that it was not trained on; None if none were given.
        earlier: Openers of the earlier checkpoints, oldest first.
        device: Device to run on.
        provenance: Where the model came from.
        snapshots: Folder that keeps what was measured at each checkpoint; None keeps nothing.
        features: The user's features of all samples, [any, any]; None if there are none.
        encoder: Pretrained encoder of the raw samples; None if none was named.
        retraining: How the network can be trained again; None if no cross-fit is asked for.
    """

    model: nn.Module
    dataset: LabeledDataset
    holdout: LabeledDataset | None
    earlier: Sequence[CheckpointOpener]
    device: torch.device
    provenance: Provenance
    snapshots: Path | None = None
    features: NDArray[np.float32] | None = None
    encoder: Encoder | None = None
    retraining: Retraining | None = None

    @property
    def layer_names(self) -> list[str]:
        """Every name that a layer can have; which layers have gradients is known only after the pass."""
        return [name or ROOT_LAYER for name, _ in self.model.named_modules()]

    @property
    def fingerprints(self) -> list[str]:
        """SHA-256 of the data, and of the holdout if there is one."""
        return [data.fingerprint for data in (self.dataset, self.holdout) if data is not None]


def subject_from_files(run: ScanRun, checkpoint: Path, earlier: Sequence[Path]) -> ScanSubject:
    """Open the checkpoint, and the model and data that the configuration names.

    Args:
        run: The scan's instructions.
        checkpoint: Checkpoint file to audit.
        earlier: Earlier checkpoints of the same training run, oldest first; opened when they are needed.

    Raises:
        CohauditError: If checkpoint, model or data cannot be used.
    """
    config = run.config
    device = resolve_device(config.device)
    retraining = retraining_from_files(config, device)
    # an earlier checkpoint is opened under the same terms: no more trust, the same state dict
    open_one = partial(
        load_checkpoint,
        weights=config.weights,
        prefix=config.prefix,
        ignored=config.ignore_keys,
        trust=config.trust_checkpoint,
    )
    with run.stages("open the checkpoint"):
        loaded = open_one(checkpoint)
        model = build_model(config.model, config.model_args, config.base)
        load_weights(model, loaded)
        model = model.to(device)
    with run.stages("open the data"):
        dataset = open_dataset(config)
        holdout = open_holdout(config.holdout, dataset, config)
        features = _features(config, dataset)
        encoder = _encoder(config, dataset)
    # earlier checkpoints are opened one at a time, later: no two need to fit into memory
    return replace(
        subject_of_parts(config, loaded, model, dataset, retraining),
        holdout=holdout,
        earlier=[partial(open_one, path) for path in earlier],
        snapshots=config.base / config.out / SNAPSHOTS_FOLDER,
        features=features,
        encoder=encoder,
    )


def subject_of_parts(
    config: Config,
    loaded: Checkpoint,
    model: nn.Module,
    dataset: LabeledDataset,
    retraining: Retraining | None,
) -> ScanSubject:
    """Return what a scan is about, without holdout and earlier checkpoints, from parts that are open.

    Args:
        config: Settings.
        loaded: The checkpoint.
        model: The model with its weights, on its device.
        dataset: The training data.
        retraining: How the network can be trained again; None if that is not asked for.
    """
    return ScanSubject(
        model=model,
        dataset=dataset,
        holdout=None,
        earlier=(),
        device=next(model.parameters()).device,
        provenance=_provenance_of(loaded, config.model),
        retraining=retraining and replace(retraining, recorded=recorded_in(loaded)),
    )


def subject_in_memory(
    run: ScanRun,
    model: nn.Module,
    dataset: Any,
    holdout: Any,
    earlier: Any,
    *,
    factory: Factory | None = None,
    fit: Fit | None = None,
) -> ScanSubject:
    """Take a model and its data from memory; see `pipeline.scan.scan` for the arguments.

    Raises:
        ConfigError: If `earlier` is not a list of paths and state dicts, a setting does not fit the data, or
            the model cannot be built anew for a cross-fit.
        ModelError: If `model` is not a torch.nn.Module, or has no parameters.
        CohauditError: If the data or an earlier checkpoint cannot be used.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            "model",
            f"found {repr(model)[:80]}, a {type(model).__name__}, not a torch.nn.Module",
            "build the model and load its weights first, or scan the file: cohaudit scan CHECKPOINT",
        )
    check_ready(model, "model")
    retraining = retraining_in_memory(run.config, model, factory, fit)
    with run.stages("open the data"):
        opened = as_dataset(dataset, run.config)
        held_out = open_holdout(holdout, opened, run.config)
        features = _features(run.config, opened)
        encoder = _encoder(run.config, opened)
    return ScanSubject(
        model=model,
        dataset=opened,
        holdout=held_out,
        earlier=checkpoint_openers(model, earlier),
        # where its owner put it: the setting `device` is refused for a model in memory
        device=next(model.parameters()).device,
        provenance=_provenance_in_memory(model),
        features=features,
        encoder=encoder,
        retraining=retraining,
    )


def _features(config: Config, dataset: LabeledDataset) -> NDArray[np.float32] | None:
    return read_features(config.base / config.features, len(dataset)) if config.features else None


def _encoder(config: Config, dataset: LabeledDataset) -> Encoder | None:
    if not config.encoder:
        return None
    return open_encoder(config.encoder, config.base, dataset.raw(0), dataset.where(0))


def _provenance_of(loaded: Checkpoint, factory: str) -> Provenance:
    return Provenance(
        checkpoint=loaded.path,
        sha256=loaded.sha256,
        file_format=loaded.format,
        model=factory,
        memory=memory_of(loaded),
        decay=decay_of(loaded),
        progress=progress_of(loaded.optimizer, loaded.metadata),
    )


def _provenance_in_memory(model: nn.Module) -> Provenance:
    reason = "a model in memory comes without its optimizer's state"
    return Provenance(
        checkpoint=IN_MEMORY,
        sha256="",
        file_format=IN_MEMORY,
        model=type(model).__qualname__,
        memory=Skipped("memory", reason),
        decay=Skipped("weight decay", reason),
        progress=OptimizerProgress(),
    )
