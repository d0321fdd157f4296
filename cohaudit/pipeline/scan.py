"""The story of a scan, in order. Start reading here, at `audit_subject`.

Measuring and judging are apart. Measuring (`gradients`) sees the model and no threshold; judging (`analysis`,
by way of `pipeline.findings`) sees arrays and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Unpack

from torch import Tensor, nn

from cohaudit.analysis.near_duplicates import SimilarityIndex, compare_views
from cohaudit.analysis.neighbor_support import Neighbors, Support
from cohaudit.audits.registry import AuditContext, run_audits
from cohaudit.config import KEYS, Config
from cohaudit.config.typed import Settings
from cohaudit.config.used import refuse_meaningless
from cohaudit.gradients import Measurement
from cohaudit.loading.data import DatasetLike
from cohaudit.loading.model import eval_mode, gradients_on
from cohaudit.pipeline.assemble import StageResults, assemble
from cohaudit.pipeline.cache_key import cache_key
from cohaudit.pipeline.corrected_labels import find_corrections
from cohaudit.pipeline.crossfit.fit_function import Fit
from cohaudit.pipeline.crossfit.plan import plan_crossfit
from cohaudit.pipeline.crossfit.stage import cross_fit
from cohaudit.pipeline.crossfit.untrained import Factory
from cohaudit.pipeline.distributed.pass_blocks import Divided
from cohaudit.pipeline.evidence import gather_evidence
from cohaudit.pipeline.findings import judge
from cohaudit.pipeline.first_look import first_look
from cohaudit.pipeline.flatness import measure_flatness
from cohaudit.pipeline.history import measure_history, pass_store
from cohaudit.pipeline.holdout import measure_holdout
from cohaudit.pipeline.label_findings import LabelFindings, judge_labels
from cohaudit.pipeline.measuring import FirstPass, first_pass, measure_single, pass_kind
from cohaudit.pipeline.observations import (
    GradientObservations,
    Observations,
    compare_gradients,
    name_neighbors,
)
from cohaudit.pipeline.outside import predict_outside
from cohaudit.pipeline.progress import (
    COMPARE_GRADIENTS,
    COMPARE_SAMPLES,
    GATHER_EVIDENCE,
    JUDGE,
    JUDGE_LABELS,
    MEASURE_GRADIENTS,
    Progress,
    chosen_progress,
)
from cohaudit.pipeline.resume import ResumableRun
from cohaudit.pipeline.reviewed_labels import find_answers
from cohaudit.pipeline.sample import Sample, content_hashes, draw_sample
from cohaudit.pipeline.scan_run import ScanRun, options_of, prepare_run
from cohaudit.pipeline.subject import ScanSubject, subject_from_files, subject_in_memory
from cohaudit.pipeline.unused_classes import name_unused_classes
from cohaudit.results import Audit
from cohaudit.review.gates import refuse_unknown_names
from cohaudit.untrusted import limiting

__all__ = ["audit_subject", "options_of", "scan", "scan_checkpoint"]


def scan_checkpoint(
    config: Config,
    checkpoint: Path,
    progress: Progress,
    earlier: Sequence[Path] = (),
    resumable: ResumableRun | None = None,
    *,
    divided: Divided | None = None,
) -> Audit:
    """Audit a checkpoint file with the model and data that the configuration names.

    Args:
        config: Settings; they name the model and the data.
        checkpoint: Checkpoint file to audit.
        progress: Told about each stage.
        earlier: Earlier checkpoints of the same training run, oldest first; only their predictions are used.
        resumable: Stores what is measured, so that an interrupted scan can be resumed; None stores nothing.
        divided: Other processes that measure, or have measured, a part of the passes; None if there are none.

    Returns:
        The audit; nothing is printed.

    Raises:
        CohauditError: If checkpoint, model or data cannot be used, or the certificate fails.
    """
    run = prepare_run(config, progress, resumable, divided)
    return audit_subject(subject_from_files(run, checkpoint, earlier), run)


def scan(
    model: nn.Module,
    dataset: DatasetLike,
    *,
    holdout: DatasetLike | None = None,
    earlier: Sequence[Mapping[str, Tensor] | str | Path] = (),
    class_names: Sequence[str] | None = None,
    factory: Factory | None = None,
    fit: Fit | None = None,
    config: Config | None = None,
    progress: Progress | bool | None = None,
    **settings: Unpack[Settings],
) -> Audit:
    """Audit a model in memory: the same as `cohaudit scan`, from Python.

    Args:
        model: The trained network, on any device; left as it was found.
        dataset: Its training data: a DataFrame; a map-style Dataset, of torch or Hugging Face, of
            (input, label) or of dictionaries that hold both; a tuple (inputs, labels) of arrays, tensors,
            DataFrame and Series; or anything that the configuration key `data` takes.
        holdout: Samples that it was not trained on, given in the same way.
        earlier: Earlier checkpoints of the same training run, oldest first, as state dicts or paths; only
            their predictions are used.
        class_names: Class names in the order of the model's outputs.
        factory: For the setting `crossfit`: function without arguments that returns an untrained network. If
            left out, copies of the model are reset, if each of its layers has `reset_parameters`.
        fit: For the setting `crossfit`: function that trains a network, called with it and a map-style torch
            Dataset of (input, label). It trains the network in place, or returns the trained one.
        config: Settings; the defaults if left out.
        progress: Told about each stage. True shows it, False does not; if left out, a notebook shows it.
        **settings: Single settings by name, which override those of `config`. `fail_on` and `warn_on` fill
            the audit's `gates`.

    Returns:
        The audit; its `samples` is a pandas DataFrame.

    Raises:
        ConfigError: If a setting is unknown, wrong, or has no effect for a model in memory.
        ModelError: If `model` is not a torch.nn.Module.
        CohauditError: If model and data do not fit, an earlier checkpoint cannot be used, or the certificate
            fails.
    """
    config = (config or Config()).updated(settings)
    refuse_meaningless(config, settings)
    if class_names is not None:
        config = config.updated({"class_names": tuple(class_names)})
    run = prepare_run(config, chosen_progress(progress))
    with limiting(config.read_memory, config.read_seconds):
        subject = subject_in_memory(run, model, dataset, holdout, earlier, factory=factory, fit=fit)
        return audit_subject(subject, run)


def _complete_signature() -> Signature:
    """Return the signature of `scan` with every setting by name: what a notebook completes."""
    known = signature(scan)
    own = [one for one in known.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    settings = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=KEYS[name].default)
        for name in Settings.__annotations__
    ]
    return known.replace(parameters=[*own, *settings])


# type checkers read the annotation instead; a notebook asks the function itself
scan.__signature__ = _complete_signature()  # type: ignore[attr-defined]


def audit_subject(subject: ScanSubject, run: ScanRun) -> Audit:
    """Audit a model and its data, stage by stage.

    Args:
        subject: Model and data; the model is left as it was found.
        run: The scan's instructions.

    Raises:
        CohauditError: If model and data do not fit, or the certificate fails.
    """
    with eval_mode(subject.model):
        name_unused_classes(subject.model, subject.dataset, subject.holdout)
    # a gate on a layer that does not exist would fail at the end of the scan, whatever was measured
    refuse_unknown_names(run.config, subject.layer_names, subject.dataset.class_names)
    with eval_mode(subject.model), gradients_on(subject.model) as unfrozen:
        sample = draw_sample(subject, run)
        # tried now, trained later: what would fail, and what it will cost, should not be known only then
        plan = plan_crossfit(subject, sample, run)
        # before the measuring: a damaged file, or answers to other data, are refused at once
        corrected = find_corrections(subject, sample, run)
        review = find_answers(subject, sample, run, corrected)
        look = first_look(subject, sample, run)
        history = measure_history(subject, sample, run)
        first = _first_pass(subject, sample, run, look)
        if first.measured is not None:
            history = history.with_audited(subject, first.measured)
        # labels that an audit concluded from others are no evidence: predicted are those given first
        outside = predict_outside(subject, corrected.as_given(sample) if corrected else sample, run)
        out_of_fold = cross_fit(plan, subject, sample, first.forward, run)
        flatness = measure_flatness(subject, sample, run)
        seen = Observations(
            forward=first.forward,
            likeness=_compare_samples(first, run),
            source=sample.source,
            total=len(subject.dataset),
            contents=content_hashes(subject, sample),
            earlier=history.predictions.probabilities,
            outside=outside.views,
            crossfit=out_of_fold.probability,
            review=review,
            corrected=corrected,
            flatness=flatness,
        )
        with run.stages(JUDGE_LABELS):
            labels = judge_labels(seen, run.config)
        measured = measure_single(subject, sample.source, first, run)
        support, neighbors = _compare_gradients(measured, seen, labels, run)
        # measured after the training data, which shows whether the model gets a verdict at all
        holdout = measure_holdout(subject, sample, measured, run)
        found = GradientObservations(measured, support, neighbors, holdout)
        with run.stages(JUDGE):
            judged = judge(seen, found, labels, run.config)
        with run.stages(GATHER_EVIDENCE):
            reviewed = gather_evidence(judged, subject.dataset, sample, run)
        results = StageResults(
            sample=sample,
            history=history,
            measured=measured,
            holdout=holdout,
            outside=outside,
            out_of_fold=out_of_fold,
            flatness=flatness,
            reviewed=reviewed,
            unfrozen=unfrozen,
        )
        audits = run_audits(_audit_context(subject, run, results), run.stages)
    return assemble(subject, run, results, audits)


def _first_pass(subject: ScanSubject, sample: Sample, run: ScanRun, look: str) -> FirstPass:
    """Run every sample once; the pass is stored on the way, so that it can be resumed.

    Args:
        subject: Model and data.
        sample: The samples.
        run: The scan's instructions.
        look: What a look at a few samples said.
    """
    sha256 = subject.provenance.sha256
    kind = pass_kind(run, len(sample.positions), earlier=bool(subject.earlier))
    store = pass_store(subject, sample, run, sha256, kind)
    key = cache_key(run.config, subject, sample.source.labels, sha256)
    blocks = run.blocks_of("training", sample.source, sample.positions, key)
    with run.stages(MEASURE_GRADIENTS, len(sample.positions), look) as advance:
        return first_pass(subject, sample.source, run, advance, store=store, blocks=blocks)


def _compare_samples(first: FirstPass, run: ScanRun) -> SimilarityIndex | None:
    """Return which samples look alike to the layers; None if no layer gives a representation."""
    with run.stages(COMPARE_SAMPLES):
        views = [view.rows for view in first.forward.views]
        return compare_views(views) if views else None


def _compare_gradients(
    measured: Measurement, seen: Observations, labels: LabelFindings, run: ScanRun
) -> tuple[Support | None, Neighbors]:
    """Return the support of the samples, if it is known, and the neighbors of those that are shown."""
    with run.stages(COMPARE_GRADIENTS):
        support = compare_gradients(measured, run.config, seen.total)
        return support, name_neighbors(seen, labels.shown, run.config)


def _audit_context(subject: ScanSubject, run: ScanRun, results: StageResults) -> AuditContext:
    judged = results.reviewed.judged
    return AuditContext(
        model=subject.model,
        source=results.sample.source,
        measured=results.measured,
        layers=judged.layers,
        samples=judged.samples,
        auditable=judged.sanity.auditable,
        config=run.config,
        options=run.options,
        device=subject.device,
        memory=subject.provenance.memory,
        trained_decay=subject.provenance.decay,
        snapshots=results.history.snapshots,
        earlier=subject.earlier,
        outside=[view.probability for view in results.outside.views],
        schedule=run.schedule,
        total=len(subject.dataset),
        columns=subject.dataset.column_names,
        flatness=results.flatness,
    )
