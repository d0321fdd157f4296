"""The story of an audit, in order: open, measure, judge, and put the evidence together.

Start reading here. Measuring (gradients) and judging (coherence, memorization, risk) are apart: the first
sees the model and no threshold, the second sees arrays and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit._version import __version__
from cohaudit.analysis.coherence import Resampling
from cohaudit.analysis.sanity import is_skilled
from cohaudit.audits.checkpoint_inspection import decay_of, memory_of
from cohaudit.audits.optimizer_state import OptimizerProgress, progress_of
from cohaudit.audits.registry import OVER_TIME, AuditContext, asked_for, run_audits
from cohaudit.audits.training.earlier_predictions import (
    CheckpointOpener,
    EarlierPredictions,
    given_in_memory,
    predict_with,
)
from cohaudit.audits.training.lr_schedule import read_schedule
from cohaudit.audits.training.measure_checkpoints import CheckpointMeasurer, LabeledSnapshot
from cohaudit.audits.training.snapshot import SnapshotCache
from cohaudit.config import Config
from cohaudit.config.used import refuse_meaningless, used_settings
from cohaudit.errors import ModelError
from cohaudit.gradients import CheckpointStore, Measurement, Options, Source, measure
from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.loading.data import LabeledDataset, as_dataset, open_dataset
from cohaudit.loading.model import build_model, check_ready, eval_mode, load_weights, resolve_device
from cohaudit.loading.stratified_sample import choose_samples
from cohaudit.pipeline.evidence import gather_evidence, suppress
from cohaudit.pipeline.findings import NO_HOLDOUT, Scope, compare, judge
from cohaudit.pipeline.holdout import (
    NewSamples,
    Trained,
    check_fit,
    measure_holdout,
    new_samples,
    not_used,
    open_holdout,
    unused_notice,
)
from cohaudit.pipeline.progress import Progress, SilentProgress, Stages
from cohaudit.pipeline.resume import ResumableRun, cache_key
from cohaudit.results import Audit, Holdout, Memory, Skipped, Subject, TrainedDecay
from cohaudit.results.suppression import Suppression
from cohaudit.review.gates import gate_results, refuse_unknown_names
from cohaudit.review.suppressions import active, match, read_suppressions

Integers = NDArray[np.int64]
SNAPSHOTS = "snapshots"
"""Folder, in that of the report, of what was measured of the checkpoints of a training."""
ROOT = "(model)"
"""What the model itself is called as a layer."""


def scan_checkpoint(
    config: Config,
    checkpoint: Path,
    progress: Progress,
    earlier: Sequence[Path] = (),
    unfinished: ResumableRun | None = None,
) -> Audit:
    """Audit a checkpoint file with the model and data that the configuration names.

    Args:
        config: Settings; names the model and the data.
        checkpoint: The file.
        progress: Told about each stage.
        earlier: Earlier checkpoints of the same training, in order; only their answers are heard.
        unfinished: Keeps what is measured, so that a scan can be resumed; None keeps nothing.

    Returns:
        The audit; nothing is printed.

    Raises:
        CohauditError: If checkpoint, model or data cannot be used, or the certificate fails.
    """
    device = resolve_device(config.device)
    entries = _reviewed(config)
    stages = Stages(progress)
    with stages("open the checkpoint"):
        loaded = load_checkpoint(checkpoint, weights=config.weights, trust=config.trust_checkpoint)
        model = build_model(config.model, config.model_args, config.base)
        load_weights(model, loaded)
        model = model.to(device)
        weights = config.weights
        trust = config.trust_checkpoint
        before = [partial(load_checkpoint, path, weights=weights, trust=trust) for path in earlier]
    with stages("open the data"):
        dataset = open_dataset(config)
        holdout = open_holdout(config.holdout, dataset, config)
    about = _About(
        loaded.path,
        loaded.sha256,
        loaded.format,
        config.model,
        memory_of(loaded),
        decay_of(loaded),
        progress_of(loaded.optimizer, loaded.metadata),
        config.base / config.out / SNAPSHOTS,
        unfinished or ResumableRun(None),
    )
    return _audit(model, dataset, holdout, before, config, device, about, stages, entries)


def scan(
    model: nn.Module,
    dataset: Any,
    *,
    holdout: Any = None,
    earlier: Sequence[Mapping[str, Tensor] | str | Path] = (),
    class_names: Sequence[str] | None = None,
    config: Config | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Audit:
    """Audit a model in memory: the same as `cohaudit scan`, from Python.

    Args:
        model: The trained network, on any device; left as it was found.
        dataset: Its training data: a map-style torch Dataset of (input, label) pairs, a pair of arrays
            (inputs, labels), or anything that the configuration key `data` takes.
        holdout: Samples that it was not trained on, given in the same way.
        earlier: Earlier checkpoints of the same training, oldest first, as state dicts or paths; only their
            answers are heard.
        class_names: In the order of the model's outputs.
        config: Settings; the defaults when left out.
        progress: Told about each stage; silent when left out.
        **settings: Single settings by name, over those of `config`. `fail_on` and `warn_on` fill its `gates`.

    Returns:
        The audit; its `samples` is a pandas DataFrame.

    Raises:
        ConfigError: If a setting is unknown, wrong, or means nothing for a model in memory.
        ModelError: If `model` is no torch.nn.Module.
        CohauditError: If model and data do not fit, an earlier checkpoint cannot be used, or the certificate
            fails.
    """
    config = (config or Config()).updated(settings)
    refuse_meaningless(config, settings)
    if not isinstance(model, nn.Module):
        raise ModelError(
            "model",
            f"found {repr(model)[:80]}, a {type(model).__name__}, not a torch.nn.Module",
            "build the model and load its weights first, or scan the file: cohaudit scan CHECKPOINT",
        )
    if class_names is not None:
        config = config.updated({"class_names": tuple(class_names)})
    entries = _reviewed(config)
    stages = Stages(progress or SilentProgress())
    with stages("open the data"):
        opened = as_dataset(dataset, config)
        held_out = open_holdout(holdout, opened, config)
    check_ready(model, "model")
    before = given_in_memory(model, earlier)
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    reason = "a model in memory comes without its optimizer's state"
    unknown = Skipped("memory", reason), Skipped("weight decay", reason)
    about = _About("(in memory)", "", "(in memory)", type(model).__qualname__, *unknown, OptimizerProgress())
    return _audit(model, opened, held_out, before, config, device, about, stages, entries)


@dataclass(frozen=True)
class _About:
    """Where the model came from, in words for the report, and what came with it."""

    checkpoint: str
    sha256: str
    file_format: str
    model: str
    memory: Memory | Skipped
    decay: TrainedDecay | Skipped
    pace: OptimizerProgress
    snapshots: Path | None = None
    """Folder of what was measured of checkpoints; None keeps nothing."""
    unfinished: ResumableRun = field(default_factory=partial(ResumableRun, None))


def _audit(
    model: nn.Module,
    dataset: LabeledDataset,
    holdout: LabeledDataset | None,
    earlier: Sequence[CheckpointOpener],
    config: Config,
    device: torch.device,
    about: _About,
    stages: Stages,
    entries: Sequence[Suppression],
) -> Audit:
    wanted = asked_for(config.audits)
    schedule = read_schedule(config.lr, config.steps_per_epoch, config.base)
    refuse_unknown_names(config, _layer_names(model), dataset.class_names)
    options = options_of(config)
    chosen = choose_samples(dataset.labels, config.limit, config.seed)
    source = Source(
        load=lambda indices: dataset.batch(chosen[list(indices)].tolist()),
        labels=dataset.labels[chosen],
        ids=[dataset.ids[i] for i in chosen],
        class_names=dataset.class_names,
    )
    new: NewSamples | Skipped = NO_HOLDOUT
    if holdout is not None:
        with eval_mode(model):
            check_fit(model, holdout, config, device)
        new = new_samples(holdout, dataset, config)

    def keeper(sha256: str) -> CheckpointStore:
        key = cache_key(config, sha256, dataset.fingerprint, source.labels, model, device)
        return about.unfinished.keeper(key)

    asked = EarlierPredictions()
    taken = list[LabeledSnapshot]()
    follower = None
    if earlier:
        count = len(earlier) * len(chosen)
        with stages("ask the earlier checkpoints", count) as advance, eval_mode(model):
            if wanted & OVER_TIME:
                unseen = new.source if isinstance(new, NewSamples) else None
                fingerprints = [d.fingerprint for d in (dataset, holdout) if d]
                shelf = SnapshotCache(about.snapshots, fingerprints, config, model)
                follower = CheckpointMeasurer(
                    model, source, unseen, options, device, len(dataset), shelf, keeper
                )
                asked, taken = follower.earlier(earlier, advance)
            else:
                asked = predict_with(model, earlier, source, config.batch_size, device, advance)
    with stages("measure the gradients", len(chosen)) as advance, eval_mode(model):
        measured = measure(model, source, options, device, advance, store=keeper(about.sha256))
        if follower is not None and taken:
            taken.append((about.checkpoint, follower.of(measured, about.sha256, about.pace)))
    held_out = _held_out(model, holdout, new, measured, source, options, device, stages)
    scope = Scope(_representation(measured), len(dataset))
    with stages("compare the samples"):
        compared = compare(measured, config, scope)
    with stages("judge"):
        resampling = Resampling(config.bootstrap, config.confidence, config.seed)
        judged = judge(measured, compared, source, config, resampling, scope, asked.answers, held_out)
    with stages("gather the evidence"):
        today = date.today()
        hashed = range(len(chosen)) if active(entries, today) else range(0)
        hashes = {i: dataset.content_hash(int(chosen[i])) for i in hashed}
        found = match(entries, hashes, judged.samples["label"].tolist(), today)
        judged, suppressed = suppress(judged, found.samples)
        shown = gather_evidence(judged, compared, source, dataset, chosen, config.evidence)
    context = AuditContext(
        model=model,
        source=source,
        measured=measured,
        layers=judged.layers,
        samples=judged.samples,
        auditable=judged.sanity.auditable,
        config=config,
        options=options,
        device=device,
        memory=about.memory,
        trained_decay=about.decay,
        taken=taken,
        schedule=schedule,
        total=len(dataset),
        columns=dataset.column_names,
    )
    with eval_mode(model):
        theory = run_audits(context, stages)
    audit = Audit(
        version=__version__,
        subject=_subject(dataset, len(chosen), measured, about, asked),
        settings=used_settings(config, device.type),
        sanity=judged.sanity,
        notices=(*judged.notices, *unused_notice(held_out, holdout), *measured.notices, *found.notices),
        coherence=judged.coherence,
        layers=judged.layers,
        classes=judged.classes,
        class_cosines=judged.class_cosines,
        samples=judged.samples,
        cosine_error=judged.cosine_error,
        representation=scope.representation,
        evidence=shown.evidence,
        suppressed=suppressed,
        previews=shown.previews,
        risk=judged.risk,
        audits=theory,
        certificate=measured.certificate,
        skipped=(
            *(*_left_out(chosen, dataset), *not_used(held_out, holdout, judged.risk)),
            *(*asked.skipped, *measured.skipped, *judged.skipped),
        ),
        gates=(),
        timings=stages.timings,
    )
    return replace(audit, gates=tuple(gate_results(config, audit)))


def _held_out(
    model: nn.Module,
    holdout: LabeledDataset | None,
    new: NewSamples | Skipped,
    measured: Measurement,
    source: Source,
    options: Options,
    device: torch.device,
    stages: Stages,
) -> Holdout | Skipped:
    """Measure the holdout, where there is one and the model can be judged at all."""
    if holdout is None or not is_skilled(measured.predicted, source.labels, len(source.class_names)):
        return NO_HOLDOUT
    if isinstance(new, Skipped):
        return new
    trained = Trained(measured, float(np.mean(measured.predicted == source.labels)), options)
    with stages("measure the holdout", len(new.source.labels)) as advance, eval_mode(model):
        return measure_holdout(model, holdout, new, trained, device, advance)


def _left_out(chosen: Integers, dataset: LabeledDataset) -> tuple[Skipped, ...]:
    rest = len(dataset) - len(chosen)
    if not rest:
        return ()
    reason = "limit; the risk of a subsample is an estimate of that of all samples, see docs/risk.md"
    return (Skipped(f"{rest:,} of {len(dataset):,} samples", reason),)


def _layer_names(model: nn.Module) -> list[str]:
    """Return every name that a layer of the model can have; which of them are measured shows later."""
    return [name or ROOT for name, _ in model.named_modules()]


def _representation(measured: Measurement) -> str:
    """Return in words what labels are predicted from."""
    layers = list(dict.fromkeys(view.layer for view in measured.views))
    if len(layers) < 2:
        return f"the input of layer {layers[0]}" if layers else ""
    return f"the inputs of {len(layers)} layers, {layers[0]} to {layers[-1]}"


def options_of(config: Config) -> Options:
    """Return what the gradient pass is told of the settings."""
    return Options(
        batch_size=config.batch_size,
        temperature=config.temperature,
        sketch_size=config.sketch_size,
        sketch_memory=config.sketch_memory,
        feature_size=config.feature_size,
        class_memory=config.class_memory,
        certificate_samples=config.certificate_samples,
        certificate_tolerance=config.certificate_tolerance,
        seed=config.seed,
        bf16=config.bf16,
    )


def _subject(
    dataset: LabeledDataset, samples: int, measured: Measurement, about: _About, asked: EarlierPredictions
) -> Subject:
    return Subject(
        checkpoint=about.checkpoint,
        checkpoint_sha256=about.sha256,
        checkpoint_format=about.file_format,
        earlier=asked.files,
        model=about.model,
        parameters=sum(layer.parameters for layer in measured.layers),
        data=dataset.source,
        data_fingerprint=dataset.fingerprint,
        samples=samples,
        samples_total=len(dataset),
    )


def _reviewed(config: Config) -> Sequence[Suppression]:
    """Return the suppressions, before anything expensive happens: the file is written by hand."""
    return read_suppressions(config.base / config.suppressions) if config.suppressions else ()
