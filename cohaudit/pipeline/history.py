"""The earlier checkpoints of the training run: predictions, and gradients if an audit needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cohaudit.audits.training.earlier_predictions import EarlierPredictions, predict_with
from cohaudit.audits.training.measure_checkpoints import CheckpointMeasurer, LabeledSnapshot
from cohaudit.audits.training.snapshot_cache import SnapshotCache
from cohaudit.gradients import CheckpointStore, Measurement, PassKind
from cohaudit.pipeline.cache_key import cache_key
from cohaudit.pipeline.holdout_data import NewSamples
from cohaudit.pipeline.progress import RUN_EARLIER
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject


@dataclass(frozen=True)
class MeasuredHistory:
    """What the checkpoints of one training run gave.

    Attributes:
        predictions: Predictions of the earlier checkpoints.
        snapshots: Snapshot of each checkpoint, oldest first; empty if no audit follows the training run.
        measurer: Measured them; None if no audit follows the training run.
    """

    predictions: EarlierPredictions = field(default_factory=EarlierPredictions)
    snapshots: Sequence[LabeledSnapshot] = ()
    measurer: CheckpointMeasurer | None = None

    def with_audited(self, subject: ScanSubject, measured: Measurement) -> MeasuredHistory:
        """Return the history with the audited checkpoint as its last snapshot.

        Nothing is added if all earlier checkpoints were skipped: one snapshot is not a history.

        Args:
            subject: Model and data; the model is in eval mode.
            measured: Measurement at the audited checkpoint.
        """
        if self.measurer is None or not self.snapshots:
            return self
        about = subject.provenance
        last = self.measurer.take_snapshot(measured, about.sha256, about.progress)
        return replace(self, snapshots=(*self.snapshots, LabeledSnapshot(about.checkpoint, last)))


def measure_history(subject: ScanSubject, sample: Sample, run: ScanRun) -> MeasuredHistory:
    """Run the earlier checkpoints: forward passes, or gradient passes if an audit follows the training run.

    Args:
        subject: Model and data; the model is in eval mode and keeps its own weights.
        sample: The samples to measure.
        run: The scan's instructions.

    Raises:
        CheckpointError: If an earlier checkpoint cannot be read, or has weights that are not finite.
        ModelError: If one belongs to another model.
        EngineError: If its predictions or gradients cannot be measured.
    """
    if not subject.earlier:  # the usual case: no stage is shown
        return MeasuredHistory()
    count = len(subject.earlier) * len(sample.positions)
    with run.stages(RUN_EARLIER, count) as advance:
        if not run.follows_training:
            predictions = predict_with(
                subject.model,
                subject.earlier,
                sample.source,
                batch_size=run.config.batch_size,
                device=subject.device,
                advance=advance,
            )
            return MeasuredHistory(predictions)
        measurer = _measurer(subject, sample, run)
        predictions, snapshots = measurer.measure_earlier(subject.earlier, advance)
        return MeasuredHistory(predictions, snapshots, measurer)


def pass_store(
    subject: ScanSubject, sample: Sample, run: ScanRun, sha256: str, kind: PassKind = "gradients"
) -> CheckpointStore:
    """Return the store for the next pass over the data; what the pass before it stored is removed.

    Args:
        subject: Model and data.
        sample: The samples to measure.
        run: The scan's instructions.
        sha256: Hash of the checkpoint whose weights the model has; empty for a model in memory.
        kind: What the pass measures.
    """
    key = cache_key(run.config, subject, sample.source.labels, sha256) | {"kind of pass": kind}
    return run.resumable.store(key)


def _measurer(subject: ScanSubject, sample: Sample, run: ScanRun) -> CheckpointMeasurer:
    return CheckpointMeasurer(
        model=subject.model,
        source=sample.source,
        holdout=sample.holdout.source if isinstance(sample.holdout, NewSamples) else None,
        options=run.options,
        device=subject.device,
        cache=SnapshotCache(subject.snapshots, subject.fingerprints, run.config, subject.model),
        # a store for each checkpoint: its hash is part of the key of a pass
        store_for=partial(pass_store, subject, sample, run),
    )
