"""What `cohaudit doctor` reports about the time and the memory of a scan."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace

import torch

from cohaudit.audits.registry import MULTI_CHECKPOINT_AUDITS, selected_audits
from cohaudit.config import Config
from cohaudit.doctor.dry_run import Rehearsal
from cohaudit.doctor.environment import device_memory, free_memory
from cohaudit.doctor.extrapolation import Forecast
from cohaudit.doctor.finding import Figures, Finding, amount
from cohaudit.pipeline.progress import (
    COMPARE_GRADIENTS,
    COMPARE_SAMPLES,
    CROSSFIT,
    MEASURE_DRAWN,
    MEASURE_GRADIENTS,
    MEASURE_HOLDOUT,
    RUN_EARLIER,
)
from cohaudit.results.wording import duration

BYTES_PER_NUMBER = 4
"""Size of a float32, which sketches are made of."""


@dataclass(frozen=True)
class Surroundings:
    """What a scan does beside the stages that the dry run has timed.

    Attributes:
        start: Seconds of the imports.
        opening: Seconds to open checkpoint, model and data, and of the first batch.
        forward: Seconds of a forward pass, per sample.
        holdout: Samples of the holdout; 0 without one.
        earlier: Number of earlier checkpoints.
        crossfit: Seconds of the cross-fit; 0 without one, or if they are unknown.
    """

    start: float
    opening: float
    forward: float
    holdout: int
    earlier: int
    crossfit: float = 0.0


def forecast_finding(done: Rehearsal, config: Config, around: Surroundings, device: torch.device) -> Finding:
    """Report how long a scan of all samples will take, and how much memory.

    Args:
        done: The scan of a few samples.
        config: Settings.
        around: What the scan does beside it.
        device: Device that it ran on.
    """
    forecast = _whole_scan(done, config, around)
    # on a GPU its own memory is the scarce one
    free = device_memory(device) if device.type == "cuda" else free_memory()
    gradients = forecast.seconds[MEASURE_GRADIENTS] + forecast.seconds.get(MEASURE_DRAWN, 0.0)
    pairs = forecast.seconds.get(COMPARE_SAMPLES, 0.0) + forecast.seconds.get(COMPARE_GRADIENTS, 0.0)
    figures: Figures = {
        "seconds": forecast.total,
        "seconds_gradients": gradients,
        "seconds_pairs": pairs,
        "peak_bytes": forecast.peak,
        "free_bytes": free,
        "report_bytes": done.report_bytes,
        "samples": done.total,
        "samples_tried": done.samples,
    }
    words = _time_in_words(done, forecast, gradients, pairs)
    words += _memory_in_words(forecast.peak, free, "GPU memory" if device.type == "cuda" else "memory")
    words += f"; report about {amount(done.report_bytes)}{_spilled_in_words(done.gradients, config)}"
    if forecast.peak is not None and free is not None and forecast.peak > free:
        remedy = "lower --batch-size or --sketch-size, or audit a part with --limit"
        return Finding("forecast", "warning", words, remedy, figures)
    return Finding("forecast", "ok", words, figures=figures)


def _whole_scan(done: Rehearsal, config: Config, around: Surroundings) -> Forecast:
    """Return the forecast with the work beside the stages that the dry run has timed."""
    total = done.total
    seconds = {**done.forecast.seconds, "start": around.start, "open": around.opening}
    gradients = seconds[MEASURE_GRADIENTS]
    if around.holdout:
        # a sample of the holdout takes as long as one of the training data
        seconds[MEASURE_HOLDOUT] = gradients * min(config.limit or around.holdout, around.holdout) / total
    if around.earlier:
        follows = selected_audits(config.audits) & MULTI_CHECKPOINT_AUDITS
        seconds[RUN_EARLIER] = around.earlier * (gradients if follows else around.forward * total)
    if around.crossfit:
        seconds[CROSSFIT] = around.crossfit
    return replace(done.forecast, seconds=seconds)


def _time_in_words(done: Rehearsal, forecast: Forecast, gradients: float, pairs: float) -> str:
    rest = forecast.total - gradients - pairs
    how = "measured on all of them" if forecast.measured else f"extrapolated from {done.samples:,}"
    return (
        f"{done.total:,} samples: about {duration(forecast.total)} (gradients {duration(gradients)}, "
        f"comparing samples {duration(pairs)}, the rest {duration(rest)}), {how}"
    )


def _memory_in_words(peak: int | None, free: int | None, where: str) -> str:
    if peak is None:
        return ""
    return f"; {where} at most about {amount(peak)}" + (
        f" of {amount(free)} free" if free is not None else ""
    )


def _spilled_in_words(samples: int, config: Config) -> str:
    size = samples * config.sketch_size * BYTES_PER_NUMBER
    if size <= config.sketch_memory * 2**20:
        return ""
    return f", {amount(size)} of sketches in {tempfile.gettempdir()}"
