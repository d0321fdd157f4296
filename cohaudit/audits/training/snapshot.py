"""What one checkpoint of a training shows: measured by one pass over the data, and kept in a file once done.

A snapshot is small: a few numbers per sample, layer and class. Its file is named by a hash of all that it
depends on (the checkpoint's content, the data, the model's code, the settings), so that it is never taken
for that of another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit._version import __version__
from cohaudit.analysis.coherence import pairwise_coherence
from cohaudit.analysis.generalization_gap import predict_gap
from cohaudit.analysis.label_noise import expected_labels, fit_label_noise
from cohaudit.analysis.leave_one_out import combine_predictions, leave_one_out, suspect_labels_by
from cohaudit.audits.optimizer_state import OptimizerProgress
from cohaudit.config import Config, Effect
from cohaudit.gradients import FeatureHasher, Measurement
from cohaudit.results.files import working_folder

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

WEIGHTS_KEPT = 2048
"""Numbers kept of all weights: distances between checkpoints are told within 3 %."""

LIKELY_WRONG = 0.5
"""Suspicion from which a label is more likely wrong than right."""
HEARD = 2
"""How steeply a layer loses its weight with the disputed labels that it gives, for the agreement: chosen,
with the form of the rating in `trajectory`, on one seed of the trainings in benchmarks/audits/stopping.py."""
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """One checkpoint; N samples, L layers, C classes.

    Attributes:
        probability: The model's answers, float32 [N, C].
        corrected: The label as given, or, where it is more likely wrong than right, the suggested one, [N].
        memorization: How far a label can only be given by a network that saw the sample, [N].
        share: ⟨g_i, μ⟩ / Σ_j ⟨g_j, μ⟩ by sketches: how much of the mean gradient the sample owns, [N].
        expected: Accuracy to be expected on new data.
        agreement: Mean probability that the other samples, by nearly all layers, give to the model's answers.
        loss: Mean training loss, nats.
        coherence: α of the whole gradient.
        layers: α_u of each layer; NaN where it has no gradient, [L].
        classes: α_u of each class; NaN likewise, [C].
        largest: Largest ‖g_i‖.
        mean: Sketch of the mean gradient, [any].
        weights: The weights, shortened such that distances are kept, [any].
        step: Gradient steps taken, by the optimizer's state; −1 where it is not told.
        rate: Its learning rate; NaN likewise.
        holdout_accuracy: Accuracy on the holdout; NaN where there is none.
        holdout_loss: Mean loss on it, nats; NaN likewise.
    """

    probability: NDArray[np.float32]
    corrected: Integers
    memorization: Array
    share: Array
    expected: float
    agreement: float
    loss: float
    coherence: float
    layers: Array
    classes: Array
    largest: float
    mean: Array
    weights: Array
    step: int
    rate: float
    holdout_accuracy: float
    holdout_loss: float

    @property
    def predicted(self) -> Integers:
        """The model's answers, [N]."""
        found: Integers = self.probability.argmax(1)
        return found


def snapshot_of(
    measured: Measurement,
    model: nn.Module,
    labels: Integers,
    total: int,
    pace: OptimizerProgress,
    holdout: tuple[float, float],
    seed: int,
) -> Snapshot:
    """Return what a measurement shows of a checkpoint.

    Where no layer represents the samples, labels cannot be predicted: they stand as given, the memorization
    is 0, and the rest NaN.

    Args:
        measured: Of the gradients.
        model: With the checkpoint's weights.
        labels: As given, [N].
        total: Samples trained on, of which N were measured.
        pace: How far its optimizer went.
        holdout: Accuracy and mean loss on the holdout; NaN where there is none.
        seed: Of the sketches.
    """
    scores = [leave_one_out(v.rows, labels, measured.probability.shape[1]).scores for v in measured.views]
    told = peer_prediction(scores, labels, measured.probability, float(measured.loss.mean()), total)
    mean, peak = measured.mean_gradient()
    owned = measured.dot(mean)
    sums = float(measured.total_squares.sum())
    squares = float(measured.squared_norms.sum())
    return Snapshot(
        probability=measured.probability,
        corrected=told.corrected,
        memorization=told.memorization,
        share=owned / (float(owned.sum()) or 1.0),
        expected=told.expected,
        agreement=told.agreement,
        loss=float(measured.loss.mean()),
        coherence=sums / squares / len(labels) if squares else 0.0,
        layers=_pairwise(measured.total_squares, measured.squared_norms.sum(0), len(labels)),
        classes=_class_coherence(measured, labels),
        largest=float(np.sqrt(measured.squared_norms.sum(1).max())),
        mean=mean * peak,
        weights=_weights(model, seed),
        step=pace.steps,
        rate=pace.rate,
        holdout_accuracy=holdout[0],
        holdout_loss=holdout[1],
    )


@dataclass(frozen=True)
class Word:
    """What the other samples say of a checkpoint.

    Attributes:
        corrected: As in `Snapshot`.
        memorization: As in `Snapshot`.
        expected: As in `Snapshot`.
        agreement: As in `Snapshot`.
    """

    corrected: Integers
    memorization: Array
    expected: float
    agreement: float


def peer_prediction(
    scores: Sequence[Array], labels: Integers, probability: NDArray[np.float32], loss: float, total: int
) -> Word:
    """Ask the other samples which labels are wrong, and how far they agree with the model's answers.

    Args:
        scores: Leave-one-out scores by what each layer sees, input side first, [N, C] each; maybe none.
        labels: As given, [N].
        probability: The model's answers, [N, C].
        loss: Mean training loss, nats.
        total: Samples trained on, of which N were measured.
    """
    if not scores:
        return Word(labels, np.zeros(len(labels)), math.nan, math.nan)
    found = suspect_labels_by(scores, labels, probability)
    predicted: Integers = probability.argmax(1)
    gap = predict_gap(labels, predicted, found.cautious, found.expected, loss, total)
    corrected = np.where(found.probability >= LIKELY_WRONG, found.suggested, labels)
    heard, _ = combine_predictions([*scores, probability.astype(np.float64)], corrected, HEARD)
    given = expected_labels(heard, fit_label_noise(heard, corrected).sharpness)
    agreement = float(given[np.arange(len(labels)), predicted].mean())
    return Word(corrected, found.memorization, gap.accuracy, agreement)


def _pairwise(sums: Array, squares: Array, samples: int) -> Array:
    told = [
        pairwise_coherence(float(a), float(b), samples) if b > 0 and samples > 1 else np.nan
        for a, b in zip(sums, squares, strict=True)
    ]
    return np.array(told)


def _class_coherence(measured: Measurement, labels: Integers) -> Array:
    squares = measured.squared_norms.sum(1)
    sizes = np.bincount(labels, minlength=len(measured.class_squares))
    energy = np.bincount(labels, squares, len(sizes)).astype(np.float64)
    sums = measured.class_squares.sum(1)
    return np.array(
        [_pairwise(sums[c : c + 1], energy[c : c + 1], int(sizes[c]))[0] for c in range(len(sizes))]
    )


def _weights(model: nn.Module, seed: int) -> Array:
    own = [p.detach().flatten().cpu().double() for p in model.parameters() if p.requires_grad]
    kept: Array = FeatureHasher(WEIGHTS_KEPT, seed)(torch.cat(own)[None])[0].numpy()
    return kept


class SnapshotCache:
    """Snapshots in a folder, each under a hash of what it depends on.

    Args:
        folder: None keeps none.
        fingerprints: Of the data, and of the holdout.
        config: Settings.
        model: Whose code counts.
    """

    def __init__(
        self, folder: Path | None, fingerprints: Sequence[str], config: Config, model: nn.Module
    ) -> None:
        self._folder = folder
        affecting = config.values_affecting(Effect.GRADIENTS)
        settings = {key: str(value) for key, value in affecting.items()}
        # neither torch, device, threads nor batch size, as the `cache_key` of a pass has them: a snapshot
        # is whole, and these change it by rounding alone, while sums half of one and half of another would
        # not be those of any pass; class_memory is for the cosines between classes, which no snapshot holds
        self._about = [__version__, *fingerprints, config.model, code_of(config, model), settings]

    def load(self, checkpoint: str, shape: tuple[int, int]) -> Snapshot | None:
        """Return the snapshot of a checkpoint, if there is one that can be read.

        Args:
            checkpoint: SHA-256 of its content; empty for one in memory, which has none.
            shape: N and C.
        """
        path = self._path(checkpoint)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = _decoded(arrays)
            if found.probability.shape == shape and {len(found.corrected), len(found.share)} == {shape[0]}:
                return found
        except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
            pass
        LOGGER.info("Snapshot: %s cannot be used, and is measured again", path)
        return None

    def keep(self, checkpoint: str, snapshot: Snapshot) -> None:
        """Write the snapshot of a checkpoint, whole or not at all; where that fails, none is kept."""
        path = self._path(checkpoint)
        samples, classes = snapshot.probability.shape
        if path is None or self.load(checkpoint, (samples, classes)):
            return
        try:
            with working_folder(path.parent) as aside:
                np.savez(aside / path.name, **{f.name: getattr(snapshot, f.name) for f in fields(Snapshot)})
                (aside / path.name).replace(path)
        except OSError as error:
            LOGGER.info("Snapshots: none is kept, %s: %s", path.parent, error.strerror)
            self._folder = None

    def _path(self, checkpoint: str) -> Path | None:
        if self._folder is None or not checkpoint:
            return None
        text = json.dumps([checkpoint, *self._about], sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def code_of(config: Config, model: nn.Module) -> str:
    """Return a hash of the Python files beside those that the model's factory and the transform stand in.

    Args:
        config: Names these.
        model: Whose parts' own files count too, but for torch's.
    """
    digest = hashlib.sha256()
    for named in (config.model, config.transform, config.data):
        file = config.base / named.rpartition(":")[0]
        if file.suffix == ".py" and file.is_file():
            for beside in sorted(file.parent.glob("*.py")):
                digest.update(beside.read_bytes())
    names = {type(module).__module__ for module in model.modules()}
    for name in sorted(name for name in names if name.partition(".")[0] != "torch"):
        source = getattr(sys.modules.get(name), "__file__", None)
        if source and Path(source).is_file():
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()


_SCALARS: Mapping[str, Callable[[Any], Any]] = {"float": float, "int": int}


def _decoded(arrays: Any) -> Snapshot:
    values = {}
    for field in fields(Snapshot):
        value = arrays[field.name]
        values[field.name] = _SCALARS[str(field.type)](value) if str(field.type) in _SCALARS else value
    return Snapshot(**values)
