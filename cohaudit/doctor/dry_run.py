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
from cohaudit.doctor.extrapolation import Forecast, Trial, extrapolate
from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.stratified_sample import min_samples
from cohaudit.pipeline.measuring import measures_all
from cohaudit.pipeline.progress import MEASURE_GRADIENTS
from cohaudit.pipeline.scan import scan
from cohaudit.report import render_html
from cohaudit.results import Audit
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.tables import table_to_csv

MAX_TRIAL_SAMPLES = 2048
"""Samples of the larger trial: as many as are compared in one block."""
TRIAL_SECONDS = 10.0
"""Time that the gradients of the larger trial may take, about."""
MIN_RATIO = 2
"""Smallest ratio of the two trials' sizes: a line through two points close together is all noise. A network
for which that takes several times `TRIAL_SECONDS` is tried once, and extrapolated in proportion."""
MIN_COHERENCE_SAMPLES = 20
"""Fewest samples that the setting `coherence_samples` accepts."""
WARM_UP = "warm up"
"""Entry of the forecast: time that the first scan in a process takes longer."""
WRITE_REPORT = "write the report"
"""Entry of the forecast: time that rendering takes."""


@dataclass(frozen=True)
class Rehearsal:
    """Results of scans of a few samples.

    Attributes:
        audit: Audit of the larger trial.
        samples: Number of its samples.
        total: Samples of the whole scan.
        gradients: Samples of it whose gradients are measured one by one.
        forecast: Time and memory for all samples.
        report_bytes: Size of the report's files for all samples.
    """

    audit: Audit
    samples: int
    total: int
    gradients: int
    forecast: Forecast
    report_bytes: int


def rehearse(model: nn.Module, dataset: LabeledDataset, config: Config) -> Rehearsal:
    """Scan a few samples twice, and then more of them; write nothing.

    The first scan warms up; the second shows how many samples the last one can take in a few seconds. A
    holdout and earlier checkpoints are left out.

    Args:
        model: Model on its device; left as it was.
        dataset: The training data.
        config: Settings of the whole scan.

    Raises:
        CohauditError: If the scan stops; it would stop at the whole set too.
    """
    total = min(config.limit or len(dataset), len(dataset))
    small = min(total, max(config.batch_size, min_samples(np.bincount(dataset.labels))))
    device = next(model.parameters()).device
    # the first scan in a process loads code and fills caches; timed alone, it would spoil the line
    warm = _scan(model, dataset, config, small).timings
    before = peak_memory(device)
    audit, first = _trial(model, dataset, config, small, device)
    last = first
    most = trial_size(small, total, first.seconds[MEASURE_GRADIENTS])
    # with no more samples than that, the first trial was the whole scan, or the network is too slow for two
    if most > small:
        audit, last = _trial(model, dataset, config, most, device)
    seconds, size = _render(audit, total / last.samples)
    # warming up and rendering take as long for few samples as for many: the same in both trials, they stay so
    once = {WARM_UP: max(0.0, sum(warm.values()) - sum(first.seconds.values())), WRITE_REPORT: seconds}
    first, last = (replace(trial, seconds={**trial.seconds, **once}) for trial in (first, last))
    gradients = None
    if not measures_all(config, total):
        gradients = config.coherence_samples
    forecast = extrapolate(first, last, total, gradients)
    # the whole scan needs at least what the warm-up, with its imports, has needed
    if forecast.peak is not None and before is not None:
        forecast = replace(forecast, peak=max(before, forecast.peak))
    return Rehearsal(audit, last.samples, total, gradients or total, forecast, size)


def _trial(
    model: nn.Module, dataset: LabeledDataset, config: Config, samples: int, device: torch.device
) -> tuple[Audit, Trial]:
    forget_peak(device)
    audit = _scan(model, dataset, config, samples)
    single = audit.gradients.samples
    return audit, Trial(samples, audit.timings, peak_memory(device), None if single == samples else single)


def trial_size(small: int, total: int, seconds: float) -> int:
    """Return the number of samples of the larger trial.

    Args:
        small: Samples of the smaller trial.
        total: Samples of the whole scan.
        seconds: Time that the gradients of the smaller trial took.
    """
    # a trial too short for the clock takes 0 seconds
    times = int(TRIAL_SECONDS / max(seconds, 1e-3))
    if times < MIN_RATIO and seconds <= MIN_RATIO * TRIAL_SECONDS:
        times = MIN_RATIO
    return min(total, max(MAX_TRIAL_SAMPLES, 4 * small), max(1, times) * small)


def _scan(model: nn.Module, dataset: LabeledDataset, config: Config, samples: int) -> Audit:
    total = min(config.limit or len(dataset), len(dataset))
    # a scan in memory refuses settings that mean nothing there; answers may be about none of the few samples
    unused = (*MEANINGLESS_IN_MEMORY, "holdout", "crossfit", "reviewed")
    defaults = {key: KEYS[key].default for key in unused}
    # measured in the way of the whole scan: a few samples would all be measured one by one
    if not measures_all(config, total):
        few = min(config.coherence_samples, max(MIN_COHERENCE_SAMPLES, samples // 8))
        defaults["coherence_samples"] = few
    return scan(model, dataset, config=config.updated({**defaults, "limit": samples}))


def _render(audit: Audit, times: float) -> tuple[float, int]:
    """Return the seconds that rendering takes, and the size of the files for `times` as many samples."""
    start = time.perf_counter()
    page = render_html(audit)
    tables = audit_to_json(audit), table_to_csv(audit.samples)
    seconds = time.perf_counter() - start
    # only the tables grow with the samples: the page shows a limited number of them
    return seconds, len(page.encode()) + int(times * sum(len(table.encode()) for table in tables))
