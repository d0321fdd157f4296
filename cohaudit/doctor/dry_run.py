"""The scan itself, on a few samples and in memory: does it run, and what would all samples take?"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from cohaudit.config import KEYS, Config
from cohaudit.config.used import MEANINGLESS_IN_MEMORY
from cohaudit.doctor.environment import forget_peak, peak_memory
from cohaudit.doctor.extrapolation import GRADIENTS, Forecast, Trial, expect
from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.stratified_sample import min_samples
from cohaudit.pipeline.scan import scan
from cohaudit.report import render_html
from cohaudit.results import Audit
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.tables import table_to_csv

MOST = 2048
"""Samples of the larger trial: as many as are compared in one block."""
SECONDS = 10.0
"""That the gradients of the larger trial may take, about."""
APART = 2
"""So many times the smaller trial the larger one must be, for a line through both. A network for which that
takes several times `SECONDS` is tried once, and drawn out in proportion."""
WARMING = "warm up"
WRITING = "write the report"


@dataclass(frozen=True)
class Rehearsal:
    """What the scan of a few samples gave.

    Attributes:
        audit: Of the larger trial.
        samples: How many it took.
        total: Samples of the whole scan.
        forecast: Drawn out to all samples.
        report_bytes: Size of the report's files for all samples.
    """

    audit: Audit
    samples: int
    total: int
    forecast: Forecast
    report_bytes: int


def rehearse(model: nn.Module, dataset: LabeledDataset, config: Config) -> Rehearsal:
    """Scan a few samples twice, and then more of them; write nothing.

    The first scan warms up; the second tells how many samples the last one can take in a few seconds. A
    holdout, earlier checkpoints and what is kept of them are left out.

    Args:
        model: On its device; left as it was.
        dataset: The training data.
        config: Settings of the whole scan.

    Raises:
        CohauditError: If the scan stops; it would stop at the whole set too.
    """
    total = min(config.limit or len(dataset), len(dataset))
    small = min(total, max(config.batch_size, min_samples(np.bincount(dataset.labels))))
    device = next(model.parameters()).device
    warm = _scan(model, dataset, config, small).timings
    before = peak_memory(device)
    audit, first = _trial(model, dataset, config, small, device)
    last = first
    most = trial_size(small, total, first.seconds[GRADIENTS])
    if most > small:
        audit, last = _trial(model, dataset, config, most, device)
    seconds, size = _render(audit, total / last.samples)
    # what a first scan takes longer, and a page, take as long for few samples as for many
    once = {WARMING: max(0.0, sum(warm.values()) - sum(first.seconds.values())), WRITING: seconds}
    first, last = (replace(trial, seconds={**trial.seconds, **once}) for trial in (first, last))
    forecast = expect(first, last, total)
    if forecast.peak is not None and before is not None:
        forecast = replace(forecast, peak=max(before, forecast.peak))
    return Rehearsal(audit, last.samples, total, forecast, size)


def _trial(
    model: nn.Module, dataset: LabeledDataset, config: Config, samples: int, device: torch.device
) -> tuple[Audit, Trial]:
    forget_peak(device)
    audit = _scan(model, dataset, config, samples)
    return audit, Trial(samples, audit.timings, peak_memory(device))


def trial_size(small: int, total: int, seconds: float) -> int:
    """Return how many samples the larger trial takes.

    Args:
        small: Samples of the smaller one.
        total: Those of the whole scan.
        seconds: That the gradients of the smaller one took.
    """
    times = int(SECONDS / max(seconds, 1e-3))
    if times < APART and seconds <= APART * SECONDS:
        times = APART
    return min(total, max(MOST, 4 * small), max(1, times) * small)


def _scan(model: nn.Module, dataset: LabeledDataset, config: Config, samples: int) -> Audit:
    defaults = {key: KEYS[key].default for key in (*MEANINGLESS_IN_MEMORY, "holdout")}
    return scan(model, dataset, config=config.updated({**defaults, "limit": samples}))


def _render(audit: Audit, times: float) -> tuple[float, int]:
    """Return the seconds that the report's files take, and their bytes for so many times the samples."""
    start = time.perf_counter()
    page = render_html(audit)
    tables = audit_to_json(audit), table_to_csv(audit.samples)
    seconds = time.perf_counter() - start
    return seconds, len(page.encode()) + int(times * sum(len(table.encode()) for table in tables))
