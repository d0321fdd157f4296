"""What the measuring pass costs, beside plain training passes and the other ways to per-sample gradients.

    python -m benchmarks.gradients                        all networks, all methods
    python -m benchmarks.gradients --models resnet18-64   one network; the other results stay
    python -m benchmarks.gradients --check                do all methods find the same norms?
    python -m benchmarks.gradients --parts                where cohaudit's time goes
    python -m benchmarks.gradients --show                 show the saved results
    python -m benchmarks.gradients --scaling              cost against samples, width, batch, classes

All methods see the same model, batches and threads, and run in turns, so that a slow moment of the
machine affects them alike; the time is the median over the turns. `ratio` is time over that of `plain`:
forward and backward as in training. `plain-bf16` and `cohaudit-bf16` run under autocast, all others in
float32 without TensorFloat-32. A peer that fails on a network stays in the table with its error.
A time counts only if the norms and class sums agree with cohaudit's. On a GPU sets and batches
are larger, and memory is torch's own count, taken in the first turn.

The networks are untrained and the data is random: neither changes how long a pass takes.

The peers are not dependencies of cohaudit. To install them without changing torch:

    pip install --no-deps opacus opt-einsum scipy backpack-for-pytorch einops unfoldNd traker
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.gradients.memory import Peak, measure_apart
from benchmarks.gradients.methods import Found, Pass
from benchmarks.gradients.parts import show_parts
from benchmarks.gradients.peers import INSTALL
from benchmarks.gradients.registry import METHODS, NOT_INSTALLED, ROUNDED, short, usual_samples
from benchmarks.gradients.scaling import draw_scaling
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_json
from benchmarks.shared.workloads import SPECS, Workload, make
from cohaudit.gradients.precision import full_precision

TOLERANCE = 1e-3
"""Largest relative difference between two methods' norms and class sums; see `difference`."""


def difference(found: Found, reference: Found) -> float:
    """Return the relative difference of norms or class sums, whichever is larger; of the samples both have.

    The root mean square counts, not the maximum: where a ReLU's input is zero up to rounding, two methods may
    put it on different sides, and the gradients of a single sample then differ although both are right.
    """
    pairs = ((found.norms, reference.norms), (found.classes, reference.classes))
    return max(_relative(ours, theirs) for ours, theirs in pairs)


def _relative(ours: Tensor | None, theirs: Tensor | None) -> float:
    """Return ‖√ours − √theirs‖ / ‖√theirs‖ over the entries of the shorter one."""
    if ours is None or theirs is None:
        return 0.0
    a = ours.sqrt()
    b = theirs.sqrt()[: len(ours)]
    return float((a - b).norm() / b.norm())


class Contest:
    """The methods on one workload, in turns.

    Args:
        workload: Network and data that they run on.
        methods: Names of the methods.
        budget: Seconds after which a method is not run again.

    Attributes:
        seconds: Method → seconds of each turn.
        peaks: Method → its peak_mb; on a GPU only.
        cpu_seconds: Method → CPU seconds of each turn, summed over threads.
        found: Method → what it found in its first turn.
        errors: Method → error, for the methods that failed.
    """

    def __init__(self, workload: Workload, methods: Sequence[str], budget: float = float("inf")) -> None:
        self._workload = workload
        self._budget = budget
        self._spent: dict[str, float] = {}
        self.peaks: dict[str, dict[str, float | str]] = {}
        self._passes: dict[str, Pass] = {}
        self.seconds: dict[str, list[float]] = {}
        self.cpu_seconds: dict[str, list[float]] = {}
        self.found: dict[str, Found] = {}
        self.errors: dict[str, str] = {}
        for method in methods:
            self._try(method, lambda method=method: self._prepare(method))

    def _prepare(self, method: str) -> None:
        run = METHODS[method](self._workload)
        run(self._workload.head(self._workload.batch_size if method != "loop" else 2))  # warm up
        self._passes[method] = run

    def _try(self, method: str, action: Any) -> None:
        try:
            action()
        except Exception as error:  # a peer may fail in any way, and the run goes on
            self.errors[method] = short(error)
            self._passes.pop(method, None)
        if method in self.errors and self._workload.device.type == "cuda":
            gc.collect()  # what did not fit is in the error's frames, until here
            torch.cuda.empty_cache()

    def turn(self) -> None:
        """Let each method run once."""
        for method in list(self._passes):
            if self._spent.get(method, 0.0) > self._budget:
                continue
            self._try(method, lambda method=method: self._run(method))

    def _run(self, method: str) -> None:
        data = self._workload.head(usual_samples(method, len(self._workload.labels)))
        first = method not in self.seconds
        peak = Peak(data.device) if first and data.device.type == "cuda" else None
        _wait(data.device)
        start = time.perf_counter()
        cpu_start = time.process_time()
        found = self._passes[method](data)
        _wait(data.device)
        seconds = time.perf_counter() - start
        cpu_seconds = time.process_time() - cpu_start
        if peak is not None:
            self.peaks[method] = {"peak_mb": peak.growth()}
        self._spent[method] = self._spent.get(method, 0.0) + seconds
        scale = len(self._workload.labels) / len(data.labels)
        self.seconds.setdefault(method, []).append(seconds * scale)
        self.cpu_seconds.setdefault(method, []).append(cpu_seconds * scale)
        self.found.setdefault(method, found)

    def judge(self) -> dict[str, float]:
        """Compare what was found with what cohaudit found; a method that is off has failed."""
        reference = self.found.get("cohaudit")
        if reference is None:
            return {}
        # who sees some classes in part can be compared by norms alone
        samples = len(self._workload.labels)
        partial = {m for m in self.found if usual_samples(m, samples) < samples}
        whole = {m: Found(f.norms) if m in partial else f for m, f in self.found.items()}
        differences = {m: difference(f, reference) for m, f in whole.items() if f.norms is not None}
        for method, off in differences.items():
            if not off <= TOLERANCE and method not in ROUNDED:
                self.errors[method] = f"its norms differ from cohaudit's by {off:.1e}"
        return differences


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def benchmark(model: str, methods: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """Measure the methods on one network: time and memory, on a CPU each in a process of its own before."""
    peaks = {}
    if args.device == "cpu":
        peaks = {m: measure_apart(model, m, args.device, args.threads, args.samples) for m in methods}
    workload = make(SPECS[model], torch.device(args.device), args.samples)
    tried = [m for m in methods if "error" not in peaks.get(m, {})]
    contest = Contest(workload, tried, args.budget)
    for _ in range(args.repeats):
        contest.turn()
    differences = contest.judge()
    peaks |= contest.peaks
    named = {"device_name": torch.cuda.get_device_name()} if args.device == "cuda" else {}
    errors = {m: str(peak["error"]) for m, peak in peaks.items() if "error" in peak} | contest.errors
    return [
        {"model": model, "method": method, "device": args.device}
        | named
        | _figures(method, contest, peaks, errors.get(method))
        | {
            "samples": len(workload.labels),
            "batch_size": workload.batch_size,
            "parameters": sum(p.numel() for p in workload.model.parameters()),
            "repeats": len(contest.seconds.get(method, ())),
            "threads": args.threads,
            "torch": torch.__version__,
            "extrapolated": usual_samples(method, len(workload.labels)) < len(workload.labels),
            "norm_error": differences.get(method),
        }
        | dict(contest.found[method].extras or {} if method in contest.found else {})
        for method in methods
    ]


def _figures(method: str, contest: Contest, peaks: Mapping[str, Mapping[str, Any]], error: str | None) -> Row:
    """Return time, memory and both over those of `plain`; none for a method that failed."""
    names = ("seconds", "ratio", "peak_mb", "peak_ratio", "seconds_min", "seconds_max", "cpu_seconds")
    if error is not None:
        return dict.fromkeys(names) | {"error": error}
    turns = contest.seconds[method]
    seconds = statistics.median(turns)
    peak = peaks[method].get("peak_mb")
    plain_peak = peaks["plain"].get("peak_mb")
    plain = statistics.median(contest.seconds["plain"])
    peak_ratio = peak / plain_peak if peak is not None and plain_peak else None
    cpu_seconds = statistics.median(contest.cpu_seconds[method])
    values = (seconds, seconds / plain, peak, peak_ratio, min(turns), max(turns), cpu_seconds)
    return dict(zip(names, values, strict=True)) | {"error": None}


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal."""
    result = Table("network", "method", title="A pass over the data")
    for name in ("seconds", "ratio", "peak MB", "ratio"):
        result.add_column(name, justify="right")
    result.add_column("note")
    for row in rows:
        cells = [
            _cell(row[k], d) for k, d in (("seconds", 2), ("ratio", 2), ("peak_mb", 0), ("peak_ratio", 2))
        ]
        note = f"extrapolated from {usual_samples(row['method'], row['samples'])} samples"
        result.add_row(
            *(row["model"], row["method"], *cells, row["error"] or (note if row["extrapolated"] else "")),
            end_section=row["method"] == list(METHODS)[-1],
        )
    return result


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def merge(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows into the file of results, in place of older ones of the same name."""

    def key(row: Row) -> tuple[str, str, str]:
        return row["model"], row["method"], row["device"]

    merged = {key(row): row for row in (*read_rows(path), *rows)}
    models = list(SPECS)
    methods = list(METHODS)
    known = [row for row in merged.values() if row["model"] in models and row["method"] in methods]
    known.sort(key=lambda row: (row["device"], models.index(row["model"]), methods.index(row["method"])))
    write_json(path, known)


def check(models: Sequence[str], methods: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """Run every method once on one small batch; return how far each is from cohaudit."""
    rows = []
    for model in models:
        workload = make(SPECS[model], torch.device(args.device), args.samples or 16)
        contest = Contest(workload, methods)
        contest.turn()
        differences = contest.judge()
        for method in methods:
            error = contest.errors.get(method)
            rows.append({"model": model, "method": method, "off": differences.get(method), "error": error})
    return rows


def show_check(rows: Sequence[Row], console: Console) -> None:
    """Print the outcome of `check`."""
    result = Table("network", "method", "relative difference", "note", title="Norms, class sums")
    for row in rows:
        off = "–" if row["off"] is None else f"{row['off']:.1e}"
        result.add_row(row["model"], row["method"], off, row["error"] or "")
    console.print(result)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=SPECS, default=list(SPECS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: 5)")
    parser.add_argument(
        "--budget",
        type=float,
        default=float("inf"),
        help="seconds of turns after which a method is not run again (default: no limit)",
    )
    parser.add_argument("--samples", type=int, default=0, help="default: each network's own number")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=paths.RESULTS, help="folder of the results")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--show", action="store_true", help="print the saved results; measure nothing")
    modes.add_argument("--check", action="store_true", help="compare what the methods find; writes nothing")
    modes.add_argument("--parts", action="store_true", help="split cohaudit's time up; writes nothing")
    modes.add_argument("--scaling", action="store_true", help="draw cost against size")
    args = parser.parse_args(arguments)
    args.methods = [m for m in METHODS if m in args.methods or m == "plain"]
    return args


@full_precision()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code, 1 if a method finds other norms."""
    args = parse(arguments)
    console = Console()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # the peers use what torch deprecates
    if args.show:
        console.print(table(read_rows(args.out / "engine.json")))
        return 0
    if args.parts:
        show_parts(args.models, torch.device(args.device), args.samples, console)
        return 0
    if args.scaling:
        draw_scaling(args.out, torch.device(args.device), args.repeats, console)
        return 0
    if args.check:
        rows = check(args.models, args.methods, args)
        show_check(rows, console)
    else:
        rows = []
        for model in args.models:
            console.print(f"[dim]{model} …[/dim]")
            rows += benchmark(model, args.methods, args)
            merge(args.out / "engine.json", rows)
        console.print(table(rows))
    if any(row["error"] == NOT_INSTALLED for row in rows):
        console.print(f"To install the missing peers: [bold]{INSTALL}[/bold]", soft_wrap=True)
    return int(any("differ" in (row["error"] or "") for row in rows))
