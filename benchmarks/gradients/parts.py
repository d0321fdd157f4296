"""Where the time of cohaudit's measuring pass goes, beside a plain pass over the same data.

A profile hook keeps a stack of cohaudit's own functions; the time that passes, torch's operations
included, belongs to the function on top. No function is named here, so that the engine may change freely.
Time is CPU time, summed over threads: with `--threads 1` it hardly depends on what else the machine does.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gradients import methods
from benchmarks.shared.workloads import SPECS, make
from cohaudit import gradients

PACKAGE = str(Path(gradients.__file__).parent)
SMALLEST_SHARE = 0.01
"""Functions with less of the pass than this are added up in one line."""


class Clock:
    """Time by (phase, function): a phase is a function that `measure` itself calls."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._stack: list[str] = []
        self._last = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens inside; on the CPU, where backward hooks run in the caller's thread."""
        self._last = time.process_time()
        sys.setprofile(self._event)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in {"call", "return"} or not code.co_filename.startswith(PACKAGE):
            return
        now = time.process_time()
        if self._stack:
            phase = self._stack[1] if len(self._stack) > 1 else self._stack[0]
            self.seconds[phase, self._stack[-1]] += now - self._last
        self._last = now
        if event == "call":
            self._stack.append(f"{Path(code.co_filename).stem}.{code.co_qualname}")
        elif self._stack:
            self._stack.pop()


def _measure(model: str, device: torch.device, samples: int) -> tuple[float, Clock]:
    """Return the CPU seconds of a plain pass, and cohaudit's clock."""
    workload = make(SPECS[model], device, samples)
    passes = methods.plain(workload), methods.cohaudit(workload)
    for run in passes:
        run(workload.head(workload.batch_size))
    start = time.process_time()
    passes[0](workload)
    seconds = time.process_time() - start
    clock = Clock()
    with clock.running():
        passes[1](workload)
    return seconds, clock


def show_parts(models: Sequence[str], device: torch.device, samples: int, console: Console) -> None:
    """Print, per network, each function's own time and what it is over a plain pass."""
    for model in models:
        yardstick, clock = _measure(model, device, samples)
        total = sum(clock.seconds.values())
        table = Table(
            "phase", "function", title=f"{model}: CPU seconds plain {yardstick:.2f}, cohaudit {total:.2f}"
        )
        table.add_column("seconds", justify="right")
        table.add_column("over plain", justify="right")
        phases: dict[str, float] = defaultdict(float)
        for (phase, _), seconds in clock.seconds.items():
            phases[phase] += seconds
        for phase in sorted(phases, key=phases.__getitem__, reverse=True):
            if phases[phase] < SMALLEST_SHARE * total:
                continue
            rows = [
                (f, s) for (p, f), s in clock.seconds.items() if p == phase and s > SMALLEST_SHARE * total
            ]
            rest = phases[phase] - sum(seconds for _, seconds in rows)
            table.add_row(
                f"[bold]{phase}", "", f"[bold]{phases[phase]:.3f}", f"{phases[phase] / yardstick:.2f}"
            )
            for name, seconds in (*sorted(rows, key=lambda row: -row[1]), ("(others)", rest)):
                table.add_row("", name, f"{seconds:.3f}", f"{seconds / yardstick:.2f}")
            table.add_section()
        console.print(table)
