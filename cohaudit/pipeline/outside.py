"""Labels predicted from the raw data, the user's features and an encoder: the network has no part in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from cohaudit.analysis.outside_views import (
    InputKind,
    KnownInputs,
    OutsideView,
    count_ngrams,
    fit_descriptor,
    kind_of,
    predict_from_columns,
    predict_from_descriptors,
    predict_from_features,
    predict_from_ngrams,
    shrink,
)
from cohaudit.analysis.score_rows import likeliest
from cohaudit.gradients import Source
from cohaudit.pipeline.embedding import embed_samples
from cohaudit.pipeline.progress import EMBED_SAMPLES, PREDICT_FROM_DATA
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import OutsidePrediction, Skipped

NAME = "prediction from the raw data"
"""What is skipped, if it is."""
MAX_NUMBERS = 150_000_000
"""Numbers of all samples that are predicted from, at most: with the copies that regression makes of them,
about 4 GB of memory."""
SAMPLED_IMAGES = 2000
"""Images that the patches of the descriptor are drawn from."""
SHAPES_DIFFER = "inputs of different batches differ in kind or shape"
"""Why nothing is predicted from inputs whose first batch would do."""


class UnusableInputsError(Exception):
    """Nothing can be predicted from these inputs; the message is the reason."""


@dataclass(frozen=True)
class OutsideResults:
    """The outside views, or why there are none.

    Attributes:
        views: Predictions of the labels.
        predictions: What the audit says of each.
        skipped: What was not done, and why.
    """

    views: tuple[OutsideView, ...]
    predictions: tuple[OutsidePrediction, ...]
    skipped: tuple[Skipped, ...]


def predict_outside(subject: ScanSubject, sample: Sample, run: ScanRun) -> OutsideResults:
    """Predict the labels of the samples from their raw inputs, the user's features and an encoder.

    Args:
        subject: Model and data; the model is not used.
        sample: The samples.
        run: The scan's instructions.

    Raises:
        DataError: If an input cannot be read or encoded.
        ModelError: If the encoder fails.
    """
    source = sample.source
    views = []
    skipped = []
    embeddings = _embeddings(subject, sample, run)
    with run.stages(PREDICT_FROM_DATA):
        if subject.features is not None:
            rows = subject.features[sample.positions]
            views.append(_from_vectors(rows, f"the features of {run.config.features}", sample, run))
        if isinstance(embeddings, Skipped):
            skipped.append(embeddings)
        elif embeddings is not None:
            views.append(_from_vectors(embeddings, f"the embeddings of {run.config.encoder}", sample, run))
        if not run.config.outside:
            skipped.append(Skipped(NAME, "switched off: --no-outside"))
        else:
            try:
                views.append(predict_from_inputs(source, run.config.batch_size, run.config.seed))
            except UnusableInputsError as reason:
                skipped.append(Skipped(NAME, str(reason)))
    return OutsideResults(tuple(views), tuple(_described(view, source) for view in views), tuple(skipped))


def _from_vectors(rows: NDArray[np.float32], what: str, sample: Sample, run: ScanRun) -> OutsideView:
    """Return what is predicted from a vector of each sample, [N, any]; `what` they are, for people."""
    source = sample.source
    name = f"ridge regression on {what}"
    return predict_from_features(rows, source.labels, len(source.class_names), name, run.config.seed)


def _embeddings(subject: ScanSubject, sample: Sample, run: ScanRun) -> NDArray[np.float32] | Skipped | None:
    """Return the encoder's vectors of the samples, or why there are none; None if no encoder was named."""
    encoder = subject.encoder
    if encoder is None:
        return None
    count = len(sample.positions)
    try:
        _refuse_too_many(count * encoder.width)
    except UnusableInputsError as reason:
        return Skipped(f"prediction from the embeddings of {encoder.name}", str(reason))
    with run.stages(EMBED_SAMPLES, count) as advance:
        return embed_samples(encoder, subject.dataset, sample.positions, subject.device, advance)


def _described(view: OutsideView, source: Source) -> OutsidePrediction:
    return OutsidePrediction(view.name, float(np.mean(likeliest(view.probability) == source.labels)))


def predict_from_inputs(source: Source, batch_size: int, seed: int) -> OutsideView:
    """Return what is predicted from the inputs.

    Args:
        source: The samples.
        batch_size: Samples read at once.
        seed: Seed of folds, bootstraps and patches.

    Raises:
        UnusableInputsError: If there is no model for inputs of this kind.
    """
    first = _known(source.load(range(min(batch_size, len(source.labels)))))
    classes = len(source.class_names)
    batches = _batches(source, batch_size, first)
    if first.kind is InputKind.TOKENS:
        counts = []
        for values in batches:
            counts.append(count_ngrams(values.numpy()))
            _refuse_too_many(sum(part.nnz for part in counts))
        return predict_from_ngrams(sparse.vstack(counts, format="csr"), source.labels, classes, seed)
    if first.kind is InputKind.COLUMNS:
        _refuse_too_many(len(source.labels) * first.values.shape[1])
        table = np.concatenate([values.float().numpy() for values in batches])
        return predict_from_columns(table, source.labels, classes, seed)
    descriptor = fit_descriptor(_some_images(source, batch_size, first), seed)
    _refuse_too_many(len(source.labels) * descriptor.length)
    described = np.concatenate([descriptor.describe(values) for values in batches])
    return predict_from_descriptors(described, source.labels, classes)


def _known(inputs: Any) -> KnownInputs:
    found = kind_of(inputs)
    if isinstance(found, str):
        raise UnusableInputsError(found)
    return found


def _batches(source: Source, batch_size: int, first: KnownInputs) -> Iterator[torch.Tensor]:
    """Yield the inputs, batch by batch; a batch that is unlike the first is unusable."""
    count = len(source.labels)
    for start in range(0, count, batch_size):
        yield _alike(source.load(range(start, min(start + batch_size, count))), first)


def _alike(inputs: Any, first: KnownInputs) -> torch.Tensor:
    known = _known(inputs)
    # texts may differ in length, and images in height and width
    same_width = first.kind is InputKind.TOKENS or known.values.shape[1] == first.values.shape[1]
    if known.kind is not first.kind or not same_width:
        raise UnusableInputsError(SHAPES_DIFFER)
    return known.values


def _some_images(source: Source, batch_size: int, first: KnownInputs) -> torch.Tensor:
    """Return some images, spread over the data, small enough to be kept."""
    count = len(source.labels)
    places = np.unique(np.linspace(0, count - 1, min(count, SAMPLED_IMAGES), dtype=int)).tolist()
    parts: list[torch.Tensor] = []
    for start in range(0, len(places), batch_size):
        images = shrink(_alike(source.load(places[start : start + batch_size]), first).float())
        if parts and images.shape[1:] != parts[0].shape[1:]:
            raise UnusableInputsError(SHAPES_DIFFER)
        parts.append(images)
    return torch.cat(parts)


def _refuse_too_many(numbers: int) -> None:
    if numbers > MAX_NUMBERS:
        raise UnusableInputsError("the data is too large to predict from in memory; --limit makes it smaller")
