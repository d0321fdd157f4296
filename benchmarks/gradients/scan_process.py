"""Time and memory of one whole scan, in a process of its own: part of `benchmarks.gradients.scan_cost`.

    python -m benchmarks.gradients.scan_process "small CNN" 20000 exact --data-dir DIR

Two plain epochs over the same samples, forward and backward in batches, stand before and after the scan. All
times are CPU seconds of this process, its threads together: on a machine that others use too they are what a
scan takes. Memory is the growth of the resident set beyond what model and data take.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

import cohaudit
from benchmarks.gradients.memory import STATUS, Peak
from benchmarks.gradients.registry import METHODS, WHOLE, short, usual_samples
from benchmarks.gradients.scan_subjects import SUBJECTS
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU
from benchmarks.shared.workloads import Workload
from cohaudit.config import KEYS
from cohaudit.pipeline.progress import MEASURE_GRADIENTS
from cohaudit.report.write import write_report

MODES = ("fast", "sums", "exact")
"""How gradients are measured: values of the setting `coherence`. Without that setting all scans are exact."""
PEERS = tuple(name for name in METHODS if name not in WHOLE and name != "loop")
"""Other software, on a share of the samples; `benchmarks.gradients` says how to install it."""
TARGET_SAMPLES = 20_000
"""Number of samples that smaller scans stand for: they draw the same share for single gradients."""
FEWEST_DRAWN = 20
"""Fewest samples that can be drawn."""
WRITE_REPORT = "write the report"
"""Name of the stage that follows the audit."""


class CpuProgress:
    """Adds up each stage's own CPU seconds, without those of stages within it.

    Attributes:
        seconds: Stage → CPU seconds.
        counts: Stage → samples it went through, for those that say it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._running: list[str] = []
        self._last = time.process_time()

    def _charge(self) -> None:
        now = time.process_time()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Any]:
        """See `cohaudit.pipeline.progress.Progress`."""
        self._charge()
        name = name.partition(" (")[0]  # behind it stands what it may take
        if total is not None:
            self.counts[name] = total
        self._running.append(name)
        try:
            yield lambda samples: None
        finally:
            self._charge()
            self._running.pop()


def plain_epoch(workload: Workload) -> float:
    """Return the CPU seconds of one forward and backward pass over all samples."""
    start = time.process_time()
    for x, y in workload.batches():
        F.cross_entropy(workload.model(x), y).backward()
        workload.model.zero_grad()
    return time.process_time() - start


def _peak() -> Peak | None:
    return Peak(CPU) if STATUS.exists() else None  # outside Linux, memory is not known


def measure(workload: Workload, mode: str) -> dict[str, Any]:
    """Return seconds of an epoch and of each stage, and memory of a training step and of the scan."""
    plain_epoch(workload.head(workload.batch_size))  # loads libraries
    step = _peak()
    plain_epoch(workload.head(workload.batch_size))
    step_mb = step.growth() if step else None
    before = plain_epoch(workload)
    measured = _peer(workload, mode) if mode in PEERS else _scan(workload, mode)
    return measured | {
        "classes": workload.classes,
        "epoch_seconds": statistics.median((before, plain_epoch(workload))),
        "step_mb": step_mb,
    }


def _scan(workload: Workload, mode: str) -> dict[str, Any]:
    """Return the seconds of each stage of a scan, and its memory."""
    peak = _peak()
    progress = CpuProgress()
    names = [str(c) for c in range(workload.classes)]
    data = (workload.inputs, workload.labels)
    settings: dict[str, Any] = {"coherence": mode} if "coherence" in KEYS else {}
    if len(workload.labels) < TARGET_SAMPLES and "coherence_samples" in KEYS:
        share = len(workload.labels) / TARGET_SAMPLES
        settings["coherence_samples"] = max(FEWEST_DRAWN, round(share * KEYS["coherence_samples"].default))
    start = time.process_time()
    audit = cohaudit.scan(workload.model, data, class_names=names, progress=progress, **settings)
    scanned = time.process_time() - start
    with progress.stage(WRITE_REPORT), tempfile.TemporaryDirectory() as folder:
        write_report(audit, folder)
    total = time.process_time() - start
    named = sum(seconds for name, seconds in progress.seconds.items() if name != WRITE_REPORT)
    return {
        "stages": progress.seconds | {"other": scanned - named, "total": total},
        "counts": progress.counts,
        "run_on": len(workload.labels),
        "peak_mb": peak.growth() if peak else None,
    }


def _peer(workload: Workload, method: str) -> dict[str, Any]:
    """Return the seconds of other software for all samples, from those of a share of them, and its memory."""
    order = workload.labels.argsort(stable=True)
    ordered = replace(workload, inputs=workload.inputs[order], labels=workload.labels[order])
    count = usual_samples(method, len(order))
    try:
        run = METHODS[method](ordered)
        run(ordered.head(min(count, workload.batch_size)))  # loads libraries
        peak = _peak()
        start = time.process_time()
        run(ordered.head(count))
        seconds = (time.process_time() - start) * len(order) / count
    except Exception as error:  # it may fail in any way, and that is a result
        return {"stages": {"total": None}, "run_on": count, "peak_mb": None, "error": short(error)}
    return {
        "stages": {MEASURE_GRADIENTS: seconds, "total": seconds},
        "run_on": count,
        "peak_mb": peak.growth() if peak else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one scan, print the figures as JSON for `benchmarks.gradients.scan_cost`; return 0."""
    parser = make_parser(__doc__, data=True)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("samples", type=int)
    parser.add_argument("mode", choices=(*MODES, *PEERS))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    workload = SUBJECTS[args.subject].build(args.samples, args.data_dir)
    # on a line of its own: peers draw bars
    print(f"\n{json.dumps(measure(workload, args.mode))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
