"""The samples that a scan measures: all of the training data or a part of it, and the holdout's new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients import Source
from cohaudit.loading.stratified_sample import choose_samples
from cohaudit.pipeline.holdout_data import NO_HOLDOUT, NewSamples, check_fit, new_samples, source_of
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Skipped
from cohaudit.results.reviewed import short_hash


@dataclass(frozen=True)
class Sample:
    """The samples that are measured.

    Attributes:
        positions: Position of each in the training data, rising, int64 [N].
        source: The samples, as the gradient pass takes them.
        holdout: The holdout's samples that are not in the training data, or why there are none.
    """

    positions: NDArray[np.int64]
    source: Source
    holdout: NewSamples | Skipped


def draw_sample(subject: ScanSubject, run: ScanRun) -> Sample:
    """Draw at most `limit` samples, stratified by class, and try the holdout on the model.

    Args:
        subject: Model and data; the model is in eval mode.
        run: The scan's instructions.

    Raises:
        ConfigError: If `limit` is too small for two samples of every class.
        DataError: If a sample of the holdout cannot be read.
        ModelError: If the model cannot be called on the holdout.
        EngineError: If its output on the holdout is not finite.
    """
    config = run.config
    positions = choose_samples(subject.dataset.labels, config.limit, config.seed)
    holdout: NewSamples | Skipped = NO_HOLDOUT
    if subject.holdout is not None:
        # tried now, measured later: a holdout of another shape should not cost a pass over the data
        check_fit(subject.model, subject.holdout, config, subject.device)
        holdout = new_samples(subject.holdout, subject.dataset, config)
    return Sample(positions, source_of(subject.dataset, positions), holdout)


def content_hashes(subject: ScanSubject, sample: Sample) -> list[str]:
    """Return the short hash of each measured sample's input, [N]; only inputs not read yet are read.

    Args:
        subject: Model and data.
        sample: The samples measured.

    Raises:
        DataError: If a sample cannot be read.
    """
    return [short_hash(subject.dataset.content_hash(i)) for i in sample.positions.tolist()]
