"""The checkpoints of a training, one after the other: measured, or taken from an earlier run's snapshots."""

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
    Answer,
    CheckpointOpener,
    EarlierPredictions,
    attribute_errors_to,
    each_once,
    restore_weights,
)
from cohaudit.audits.training.lr_schedule import Schedule, steps_at
from cohaudit.audits.training.snapshot import Snapshot, SnapshotCache, snapshot_of
from cohaudit.audits.training.stability_bound import Segment, stability
from cohaudit.audits.training.trajectory import TrainingHistory, trajectory
from cohaudit.gradients import CheckpointStore, Measurement, Options, Source, answers, check_model, measure
from cohaudit.loading.model import fill_weights
from cohaudit.results import Series, Skipped, Stability, Trajectory

Array = NDArray[np.float64]
SEVERAL = "it takes several checkpoints of the training: cohaudit trajectory CHECKPOINT..."

LabeledSnapshot = tuple[str, Snapshot]
"""A checkpoint's path and its snapshot."""


@dataclass(frozen=True)
class CheckpointMeasurer:
    """Takes the snapshots of a training.

    Attributes:
        model: The audited one, on `device`, in eval mode.
        source: The samples.
        holdout: Those it was not trained on; None for none.
        options: How gradients are measured.
        device: Where.
        total: Samples trained on, of which those of `source` are measured.
        shelf: Where snapshots are kept.
        keeper: SHA-256 of a checkpoint → who keeps its pass while it is not finished.
    """

    model: nn.Module
    source: Source
    holdout: Source | None
    options: Options
    device: torch.device
    total: int
    shelf: SnapshotCache
    keeper: Callable[[str], CheckpointStore]

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.source.labels), len(self.source.class_names)

    def earlier(
        self, checkpoints: Sequence[CheckpointOpener], advance: Callable[[int], None]
    ) -> tuple[EarlierPredictions, list[LabeledSnapshot]]:
        """Measure the earlier checkpoints, those that are not on the shelf.

        The model has the same weights afterwards, come what may.

        Args:
            checkpoints: What opens them, in the order of the training.
            advance: Called with the number of samples done.

        Returns:
            What they answer, as `earlier.predict_with` returns it, and the snapshot of each that is heard.

        Raises:
            CheckpointError: If one cannot be read, or has weights that are not finite.
            ModelError: If one is of another model; or if the audited model and the data do not fit.
            EngineError: If gradients cannot be measured, or memory does not suffice.
        """
        check_model(self.model, self.source, self.device)
        heard = []
        taken = {}
        with restore_weights(self.model) as unchanged:
            for open_checkpoint in checkpoints:
                checkpoint = open_checkpoint()
                with attribute_errors_to(checkpoint.path):
                    fill_weights(self.model, checkpoint)
                    found = self.shelf.load(checkpoint.sha256, self._shape)
                    if found is None:
                        keeper = self.keeper(checkpoint.sha256)
                        measured = measure(
                            self.model, self.source, self.options, self.device, advance, store=keeper
                        )
                        found = self.of(
                            measured,
                            checkpoint.sha256,
                            progress_of(checkpoint.optimizer, checkpoint.metadata),
                        )
                    else:
                        advance(len(self.source.labels))
                heard.append(Answer(checkpoint.path, checkpoint.sha256, found.probability, unchanged()))
                taken[checkpoint.path] = found
        asked = each_once(heard)
        return asked, [(path, taken[path]) for path in asked.files]

    def of(self, measured: Measurement, sha256: str, pace: OptimizerProgress) -> Snapshot:
        """Return the snapshot of what was just measured, and keep it.

        Args:
            measured: Of the gradients at the model's weights.
            sha256: Of the checkpoint; empty in memory.
            pace: How far its optimizer went.
        """
        out = held_out(self.model, self.holdout, self.options.batch_size, self.device)
        found = snapshot_of(
            measured, self.model, self.source.labels, self.total, pace, out, self.options.seed
        )
        self.shelf.keep(sha256, found)
        return found


def held_out(
    model: nn.Module, holdout: Source | None, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """Return accuracy and mean loss on the holdout; NaN where there is none.

    Args:
        model: In eval mode, on `device`.
        holdout: The samples.
        batch_size: Samples per forward pass.
        device: Where.
    """
    if holdout is None:
        return math.nan, math.nan
    probability = answers(model, holdout, batch_size, device, lambda _: None)
    own = probability[np.arange(len(holdout.labels)), holdout.labels].astype(np.float64)
    tiny = float(np.finfo(np.float32).smallest_subnormal)  # a rounded 0 is no more certain than that
    loss = float(-np.log(np.maximum(own, tiny)).mean())
    return float(np.mean(probability.argmax(1) == holdout.labels)), loss


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of the files, where these tell them apart; else the paths as they are."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def trajectory_of(
    taken: Sequence[LabeledSnapshot], labels: NDArray[np.int64], layers: Sequence[str], classes: Sequence[str]
) -> Trajectory | Skipped:
    """Put the snapshots of a training together.

    Args:
        taken: In the order of the training, the audited checkpoint last.
        labels: As given, [N].
        layers: Names.
        classes: Names.
    """
    if len(taken) < 2:
        return Skipped("trajectory", SEVERAL)
    names = short_names([path for path, _ in taken])
    shots = [shot for _, shot in taken]
    if any(math.isnan(shot.expected) for shot in shots):
        return Skipped("trajectory", "no layer gives a representation of the samples to predict labels from")
    course = TrainingHistory(
        names=names,
        predicted=np.stack([shot.predicted for shot in shots]),
        corrected=np.stack([shot.corrected for shot in shots]),
        memorization=np.stack([shot.memorization for shot in shots]),
        share=np.stack([shot.share for shot in shots]),
        expected=[shot.expected for shot in shots],
        agreement=[shot.agreement for shot in shots],
        loss=[shot.loss for shot in shots],
        m_coherence=[shot.coherence * len(labels) for shot in shots],
    )
    return trajectory(
        course,
        labels,
        _series(layers, [shot.layers for shot in shots]),
        _series(classes, [shot.classes for shot in shots]),
        [_told("accuracy on the holdout", shot.holdout_accuracy) for shot in shots],
    )


def _series(names: Sequence[str], values: Sequence[Array]) -> list[Series]:
    columns = np.nan_to_num(np.stack(values, 1))
    return [Series(name, tuple(own.tolist())) for name, own in zip(names, columns, strict=True)]


def _told(name: str, value: float) -> float | Skipped:
    return Skipped(name, "no holdout was measured: --holdout") if math.isnan(value) else value


def stability_of(taken: Sequence[LabeledSnapshot], samples: int, schedule: Schedule) -> Stability | Skipped:
    """Accumulate the stability bound over the snapshots of a training.

    Args:
        taken: In the order of the training, the audited checkpoint last.
        samples: Trained on.
        schedule: Steps and learning rates as told by the user.
    """
    if len(taken) < 2:
        return Skipped("stability", SEVERAL)
    shots = [shot for _, shot in taken]
    names = short_names([path for path, _ in taken])
    steps = steps_at(names, [shot.step for shot in shots], schedule)
    if isinstance(steps, Skipped):
        return steps
    stretches = []
    for k, (before, now) in enumerate(pairwise(shots)):
        ends = [rate for rate in (before.rate, now.rate) if not math.isnan(rate)]
        told = sum(ends) / len(ends) if ends else math.nan
        rate = schedule.rate(steps[k], steps[k + 1], told)
        if math.isnan(rate) or rate <= 0:
            reason = "no learning rate is told: give --lr, or checkpoints with their optimizer's state"
            return Skipped("stability", reason)
        moved = float(np.linalg.norm(now.weights - before.weights))
        smoothness = float(np.linalg.norm(now.mean - before.mean)) / moved if moved else 0.0
        lipschitz = max(before.largest, now.largest)
        gap = _told("gap of the losses", now.holdout_loss - now.loss)
        count = steps[k + 1] - steps[k]
        stretches.append(Segment(names[k + 1], count, rate, before.coherence, smoothness, lipschitz, gap))
    return stability(stretches, samples)
