"""The checkpoints of a training run, one after the other: measured, or read from the snapshot cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.audits.optimizer_state import OptimizerProgress, progress_of
from cohaudit.audits.training.earlier_predictions import (
    CheckpointOpener,
    CheckpointPrediction,
    EarlierPredictions,
    attribute_errors_to,
    drop_repeated,
    restore_weights,
)
from cohaudit.audits.training.lr_schedule import Schedule, steps_at
from cohaudit.audits.training.rating import CrossedAccuracy, LabelBelief
from cohaudit.audits.training.snapshot import Snapshot, snapshot_of
from cohaudit.audits.training.snapshot_cache import SnapshotCache
from cohaudit.audits.training.stability_bound import Segment, stability
from cohaudit.audits.training.trajectory import TrainingHistory, trajectory
from cohaudit.gradients import CheckpointStore, Measurement, Options, Source, answers, check_model, measure
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.loading.model import fill_weights
from cohaudit.results import Series, Skipped, Stability, Trajectory

Array = NDArray[np.float64]

NEEDS_SEVERAL = "it needs several checkpoints of the training run: cohaudit trajectory CHECKPOINT..."
"""Why a trajectory or a stability bound is skipped."""


@dataclass(frozen=True)
class LabeledSnapshot:
    """A snapshot and the checkpoint that it is of.

    Attributes:
        path: Path of the checkpoint.
        snapshot: Its snapshot.
    """

    path: str
    snapshot: Snapshot


@dataclass(frozen=True)
class CheckpointMeasurer:
    """Takes the snapshots of a training run's checkpoints.

    Attributes:
        model: The audited model, on `device`, in eval mode.
        source: The samples.
        holdout: Samples that the model was not trained on; None if there are none.
        options: How gradients are measured.
        device: Device to run on.
        cache: Snapshots of earlier runs.
        store_for: SHA-256 of a checkpoint → store for its unfinished pass.
    """

    model: nn.Module
    source: Source
    holdout: Source | None
    options: Options
    device: torch.device
    cache: SnapshotCache
    store_for: Callable[[str], CheckpointStore]

    def measure_earlier(
        self, checkpoints: Sequence[CheckpointOpener], advance: Callable[[int], None]
    ) -> tuple[EarlierPredictions, list[LabeledSnapshot]]:
        """Take the snapshots of the earlier checkpoints, from the cache or by a gradient pass.

        The model's weights are restored in any case.

        Args:
            checkpoints: What opens them, oldest first.
            advance: Called with the number of samples done.

        Returns:
            What they predict, as from `predict_with`, and the snapshots of those that were not skipped.

        Raises:
            CheckpointError: If a checkpoint cannot be read, or has weights that are not finite.
            ModelError: If a checkpoint is of another model, or the audited model and the data do not fit.
            EngineError: If gradients cannot be measured, or memory does not suffice.
        """
        # first, so that its errors are not attributed to a checkpoint
        check_model(self.model, self.source, self.device)
        predictions = []
        snapshots = {}
        with restore_weights(self.model) as unchanged:
            for open_checkpoint in checkpoints:
                checkpoint = open_checkpoint()
                with attribute_errors_to(checkpoint.path):
                    fill_weights(self.model, checkpoint)
                    snapshot = self._snapshot(checkpoint, advance)
                predictions.append(
                    CheckpointPrediction(
                        checkpoint.path, checkpoint.sha256, snapshot.probability, unchanged()
                    )
                )
                snapshots[checkpoint.path] = snapshot
        distinct = drop_repeated(predictions)
        return distinct, [LabeledSnapshot(path, snapshots[path]) for path in distinct.files]

    def _snapshot(self, checkpoint: Checkpoint, advance: Callable[[int], None]) -> Snapshot:
        """Return the snapshot of a checkpoint whose weights the model has."""
        samples = len(self.source.labels)
        # the shape too: a file under the right name may still be damaged
        cached = self.cache.load(checkpoint.sha256, (samples, len(self.source.class_names)))
        if cached is not None:
            advance(samples)
            return cached
        store = self.store_for(checkpoint.sha256)
        measured = measure(self.model, self.source, self.options, self.device, advance, store=store)
        progress = progress_of(checkpoint.optimizer, checkpoint.metadata)
        return self.take_snapshot(measured, checkpoint.sha256, progress)

    def take_snapshot(self, measured: Measurement, sha256: str, progress: OptimizerProgress) -> Snapshot:
        """Return the snapshot of what was just measured, and save it in the cache.

        Args:
            measured: Gradients at the model's weights.
            sha256: SHA-256 of the checkpoint; empty for one in memory.
            progress: Steps and learning rate of its optimizer.
        """
        snapshot = snapshot_of(
            measured,
            self.model,
            self.source.labels,
            progress=progress,
            holdout=holdout_scores(self.model, self.holdout, self.options.batch_size, self.device),
            seed=self.options.seed,
        )
        self.cache.save(sha256, snapshot)
        return snapshot


def holdout_scores(
    model: nn.Module, holdout: Source | None, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """Return accuracy and mean loss, in nats, on the holdout; NaN without one.

    Args:
        model: The network in eval mode, on `device`.
        holdout: Samples that it was not trained on.
        batch_size: Samples per forward pass.
        device: Device to run on.
    """
    if holdout is None:
        return math.nan, math.nan
    probability = answers(model, holdout, batch_size, device, lambda _: None)
    own = probability[np.arange(len(holdout.labels)), holdout.labels].astype(np.float64)
    # a probability that float32 rounds to 0 is only known to be below its smallest number
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    loss = float(-np.log(np.maximum(own, tiny)).mean())
    return float(np.mean(probability.argmax(1) == holdout.labels)), loss


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of the files if all differ, else the paths as they are."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def trajectory_of(
    snapshots: Sequence[LabeledSnapshot],
    labels: NDArray[np.int64],
    layers: Sequence[str],
    classes: Sequence[str],
    *,
    belief: LabelBelief | None,
    crossed: CrossedAccuracy | Skipped,
) -> Trajectory | Skipped:
    """Return the trajectory audit of a training run.

    Args:
        snapshots: Snapshots, oldest checkpoint first, the audited one last.
        labels: Given labels, [N].
        layers: Layer names.
        classes: Class names.
        belief: What models of the raw data believe of the labels; None if there are none.
        crossed: How the checkpoints classify crossed samples; skipped if samples cannot be crossed.
    """
    if len(snapshots) < 2:
        return Skipped("trajectory", NEEDS_SEVERAL)
    names = short_names([one.path for one in snapshots])
    shots = [one.snapshot for one in snapshots]
    if any(math.isnan(shot.expected) for shot in shots):
        return Skipped("trajectory", "no layer gives a representation of the samples to predict labels from")
    history = TrainingHistory(
        names=names,
        predicted=np.stack([shot.predicted for shot in shots]),
        corrected_labels=np.stack([shot.corrected for shot in shots]),
        memorization=np.stack([shot.memorization for shot in shots]),
        share=np.stack([shot.share for shot in shots]),
        expected=[shot.expected for shot in shots],
        belief=belief,
        crossed=crossed,
        loss=[shot.loss for shot in shots],
        m_coherence=[shot.coherence * len(labels) for shot in shots],
    )
    return trajectory(
        history,
        labels,
        _series(layers, [shot.layers for shot in shots]),
        _series(classes, [shot.classes for shot in shots]),
        [_or_skipped("accuracy on the holdout", shot.holdout_accuracy) for shot in shots],
    )


def _series(names: Sequence[str], values: Sequence[Array]) -> list[Series]:
    """Return one series per name from one array of values per checkpoint; NaN becomes 0."""
    # a part without a gradient has no coherence: a plot needs a number
    columns = np.nan_to_num(np.stack(values, 1))
    return [Series(name, tuple(own.tolist())) for name, own in zip(names, columns, strict=True)]


def _or_skipped(name: str, value: float) -> float | Skipped:
    """Return a value from the holdout; skipped if it is NaN."""
    return Skipped(name, "no holdout was measured: give one with --holdout") if math.isnan(value) else value


def stability_of(
    snapshots: Sequence[LabeledSnapshot], samples: int, schedule: Schedule
) -> Stability | Skipped:
    """Return the stability audit of a training run.

    Args:
        snapshots: Snapshots, oldest checkpoint first, the audited one last.
        samples: Size of the training set.
        schedule: Steps and learning rates, as given by the user.
    """
    if len(snapshots) < 2:
        return Skipped("stability", NEEDS_SEVERAL)
    shots = [one.snapshot for one in snapshots]
    names = short_names([one.path for one in snapshots])
    steps = steps_at(names, [shot.step for shot in shots], schedule)
    if isinstance(steps, Skipped):
        return steps
    segments = []
    for k, (before, now) in enumerate(pairwise(shots)):
        rate = schedule.rate(steps[k], steps[k + 1], _mean_rate(before, now))
        if math.isnan(rate) or rate <= 0:
            reason = "the learning rate is unknown: give --lr, or checkpoints with their optimizer's state"
            return Skipped("stability", reason)
        segments.append(_segment(names[k + 1], steps[k + 1] - steps[k], rate, before, now))
    return stability(segments, samples)


def _mean_rate(before: Snapshot, now: Snapshot) -> float:
    """Return the mean of the learning rates that two checkpoints' optimizers give; NaN if neither does."""
    rates = [rate for rate in (before.rate, now.rate) if not math.isnan(rate)]
    return sum(rates) / len(rates) if rates else math.nan


def _segment(name: str, steps: int, rate: float, before: Snapshot, now: Snapshot) -> Segment:
    """Return the steps between two checkpoints, with L and β from their snapshots.

    Both are lower estimates: the gradients' norms and differences are known at the checkpoints alone.
    """
    moved = float(np.linalg.norm(now.weights - before.weights))
    return Segment(
        checkpoint=name,
        steps=steps,
        rate=rate,
        alpha=before.coherence,
        smoothness=float(np.linalg.norm(now.mean - before.mean)) / moved if moved else 0.0,
        lipschitz=max(before.largest, now.largest),
        measured=_or_skipped("gap of the losses", now.holdout_loss - now.loss),
    )
