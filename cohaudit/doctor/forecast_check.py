"""What `cohaudit doctor` says of the time and the memory of a scan."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace

import torch

from cohaudit.audits.registry import MULTI_CHECKPOINT_AUDITS, selected_audits
from cohaudit.config import Config
from cohaudit.doctor.dry_run import Rehearsal
from cohaudit.doctor.environment import device_memory, free_memory
from cohaudit.doctor.extrapolation import GRADIENTS, SQUARED
from cohaudit.doctor.finding import Figures, Finding, amount, duration


def forecast_finding(
    done: Rehearsal,
    config: Config,
    opening: Mapping[str, float],
    device: torch.device,
    holdout: int,
    earlier: int,
) -> Finding:
    """Say how long a scan of all samples will take, and how much memory.

    Args:
        done: The scan of a few.
        config: Settings.
        opening: Seconds to `start` and to `open` the parts, and of a `forward` pass by sample.
        device: Where it ran.
        holdout: Samples of the holdout, of which each takes as long as one of the training.
        earlier: Earlier checkpoints: each takes a forward pass, or one of gradients where the training is
            followed.
    """
    total = done.total
    seconds = {**done.forecast.seconds, "start": opening["start"], "open": opening["open"]}
    gradients = seconds[GRADIENTS]
    if holdout:
        seconds["measure the holdout"] = gradients * min(config.limit or holdout, holdout) / total
    if earlier:
        followed = selected_audits(config.audits) & MULTI_CHECKPOINT_AUDITS
        seconds["earlier checkpoints"] = earlier * (gradients if followed else opening["forward"] * total)
    forecast = replace(done.forecast, seconds=seconds)
    pairs = sum(taken for stage, taken in seconds.items() if stage in SQUARED)
    rest = forecast.total - gradients - pairs
    how = "measured on all of them" if forecast.measured else f"drawn out from {done.samples:,}"
    words = (
        f"{total:,} samples: about {duration(forecast.total)} (gradients {duration(gradients)}, "
        f"comparing all pairs {duration(pairs)}, the rest {duration(rest)}), {how}"
    )
    free = device_memory(device) if device.type == "cuda" else free_memory()
    where = "GPU memory" if device.type == "cuda" else "memory"
    if forecast.peak is not None:
        words += f"; {where} at most about {amount(forecast.peak)}"
        words += f" of {amount(free)} free" if free is not None else ""
    words += f"; report about {amount(done.report_bytes)}"
    spilled = total * config.sketch_size * 4
    if spilled > config.sketch_memory * 2**20:
        words += f", {amount(spilled)} of sketches in {tempfile.gettempdir()}"
    figures: Figures = {
        "seconds": forecast.total,
        "seconds_gradients": gradients,
        "seconds_pairs": pairs,
        "peak_bytes": forecast.peak,
        "free_bytes": free,
        "report_bytes": done.report_bytes,
        "samples": total,
        "samples_tried": done.samples,
    }
    if forecast.peak is not None and free is not None and forecast.peak > free:
        remedy = "lower --batch-size or --sketch-size, or audit a part with --limit"
        return Finding("forecast", "warning", words, remedy, figures)
    return Finding("forecast", "ok", words, figures=figures)
