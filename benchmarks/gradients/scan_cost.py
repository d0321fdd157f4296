"""What a whole scan costs, in plain epochs, and where it goes.

    python -m benchmarks.gradients.scan_cost --data-dir DIR    all networks, each mode
    python -m benchmarks.gradients.scan_cost --only "small CNN" --samples 20000 --mode sums
    python -m benchmarks.gradients.scan_cost --mode "vmap(grad)" "opacus gradients" "backpack gradients"
    python -m benchmarks.gradients.scan_cost --show                    show the saved results

A plain epoch is one forward and one backward pass over the same samples in batches. Each scan runs in a fresh
process, with an epoch before and after it, and by default three times, in turns: a figure is the median. What
is saved already is not run again; `--again` does. Every stage is in the results; the table adds them up in
four parts: the passes over the network, the judgment of labels from arrays, what the report shows, and the
rest.

Where an epoch over 20,000 samples takes minutes, two small scans are run instead, and draw the same share of
the samples for single gradients. The line `at 20,000` then is computed, not measured: each stage on the line
through the two scans, in the samples that it goes through. That holds for what is linear in the samples.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gradients.scan_process import MODES, PEERS, TARGET_SAMPLES
from benchmarks.gradients.scan_subjects import SUBJECTS
from benchmarks.shared import paths
from benchmarks.shared.command_line import check_data_dir, make_parser
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows
from cohaudit.config import KEYS

RESULTS = paths.RESULTS / "scan.json"
SINGLE_GRADIENTS = "measure single gradients"
"""Stage that goes through some of the samples only."""
TARGET_SINGLE = 2500
"""Samples it goes through at most when there are TARGET_SAMPLES: 2,000 are drawn, and 500 are for show."""
SUBJECT_KEYS = ("model", "samples", "mode")
"""What tells one scan from another."""
ASKED: Mapping[str, float] = {
    "small CNN": 2.0,
    "LSTM": 2.0,
    "perceptron": 2.0,
    "ResNet-18": 1.25,
    "ViT": 1.25,
    "GPT": 1.25,
    "MiniLM": 1.25,
    "BERT": 1.25,
}
"""Epochs that a scan with exact sums may take at 20,000 samples."""
ASKED_SECONDS = {"perceptron": 10.0}
"""Seconds that it may take if that is more."""
ASKED_FORWARD = 0.7
"""Epochs that a scan without a backward pass over all samples may take."""
PARTS = {
    "passes": ("measure", "run the earlier"),
    "verdict": ("predict labels", "compare the samples", "judge"),
    "report": ("compare the gradients", "gather", "write", "audit"),
}
"""Part of the table → how the names of its stages begin; the rest is `other`."""


def run_apart(model: str, samples: int, mode: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run one scan in a fresh process; return its figures.

    Raises:
        RuntimeError: If the process fails.
    """
    module = [sys.executable, "-m", "benchmarks.gradients.scan_process"]
    command = [*module, model, str(samples), mode, "--data-dir", str(folder), "--threads", str(threads)]
    process = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{model}, {samples} samples, {mode}: {process.stderr.strip()[-2000:]}")
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures


def rows_of(turns: Sequence[Mapping[str, Any]], about: Row) -> list[Row]:
    """Return a row per stage, with the medians over the turns."""

    def median(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    epoch = statistics.median(turn["epoch_seconds"] for turn in turns)
    memory = {name: median([turn[name] for turn in turns]) for name in ("peak_mb", "step_mb")}
    stages = list(dict.fromkeys(stage for turn in turns for stage in turn["stages"]))
    seconds = {stage: median([turn["stages"].get(stage, 0.0) for turn in turns]) for stage in stages}
    first = {name: turns[0][name] for name in ("classes", "run_on", "error") if name in turns[0]}
    return [
        about
        | first
        | {
            "stage": stage,
            "count": turns[0].get("counts", {}).get(stage),
            "cpu_seconds": cpu,
            "epochs": None if cpu is None else cpu / epoch,
        }
        | memory
        | {"epoch_seconds": epoch, "turns": len(turns)}
        for stage, cpu in seconds.items()
    ]


def _parts(rows: Sequence[Row]) -> dict[str, float]:
    """Return part → CPU seconds, of one scan's rows."""
    found = dict.fromkeys((*PARTS, "other", "total"), 0.0)
    for row in rows:
        stage = row["stage"]
        names = (part for part, starts in PARTS.items() if stage.startswith(starts))
        found["total" if stage == "total" else next(names, "other")] += row["cpu_seconds"] or 0.0
    return found


def _carried_on(small: Sequence[Row], large: Sequence[Row]) -> list[Row]:
    """Return the rows of a scan of TARGET_SAMPLES, each stage on the line through two smaller ones."""

    def on_the_line(stage: str, seconds: float, more: float, counts: tuple[int, int]) -> float:
        target = TARGET_SINGLE if stage == SINGLE_GRADIENTS else TARGET_SAMPLES
        return more + max(0.0, more - seconds) * (target - counts[1]) / max(1, counts[1] - counts[0])

    before = {row["stage"]: row for row in small}
    rows = []
    for row in large:
        first = before.get(row["stage"], row)
        counts = first.get("count") or first["samples"], row.get("count") or row["samples"]
        cpu = on_the_line(row["stage"], first["cpu_seconds"], row["cpu_seconds"], counts)
        samples = first["samples"], row["samples"]
        epoch = on_the_line("", first["epoch_seconds"], row["epoch_seconds"], samples)
        rows.append(row | {"cpu_seconds": cpu, "epoch_seconds": epoch, "peak_mb": None, "step_mb": None})
    total = sum(row["cpu_seconds"] for row in rows if row["stage"] != "total")
    return [row | {"cpu_seconds": total} if row["stage"] == "total" else row for row in rows]


def _asked(model: str, mode: str, samples: int, epoch: float) -> str:
    """Return what a scan may cost at most, in epochs; nothing where nothing is asked."""
    mode = mode.partition(" (")[0]  # behind it stands a revision
    if samples != TARGET_SAMPLES or mode not in {"fast", "sums"}:
        return ""
    if mode == "fast":
        return f"{ASKED_FORWARD}"
    return f"{max(ASKED[model], ASKED_SECONDS.get(model, 0.0) / epoch):.2f}"


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal, a line per scan, in epochs."""
    result = Table("network", "samples", "gradients", title="A scan in plain epochs, by CPU seconds")
    for name in ("epoch s", *PARTS, "other", "total", "asked", "peak MB", "step MB"):
        result.add_column(name, justify="right")
    scans: dict[tuple[str, str], dict[int, list[Row]]] = {}
    for row in rows:
        scans.setdefault((row["model"], row["mode"]), {}).setdefault(row["samples"], []).append(row)
    for (model, mode), sizes in scans.items():
        lines = [(samples, f"{samples:,}", own) for samples, own in sorted(sizes.items())]
        if len(sizes) > 1 and max(sizes) < TARGET_SAMPLES and mode not in PEERS:
            small, large = (own for _, _, own in lines[-2:])
            lines.append((TARGET_SAMPLES, f"at {TARGET_SAMPLES:,}", _carried_on(small, large)))
        for samples, shown, own in lines:
            epoch = own[0]["epoch_seconds"]
            parts = _parts(own)
            cells = [f"{seconds / epoch:.2f}" if parts["total"] else "–" for seconds in parts.values()]
            memory = ["" if own[0][k] is None else f"{own[0][k]:,.0f}" for k in ("peak_mb", "step_mb")]
            asked = _asked(model, mode, samples, epoch)
            result.add_row(model, shown, mode, f"{epoch:.2f}", *cells, asked, *memory)
        result.add_section()
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or show the saved results; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="NETWORK")
    parser.add_argument("--samples", nargs="+", type=int, metavar="N", help="default: each network's own")
    parser.add_argument("--mode", nargs="+", choices=(*MODES, *PEERS), default=list(MODES), metavar="MODE")
    parser.add_argument("--name", help="name of the one mode in the results, to keep it beside later ones")
    parser.add_argument("--turns", type=int, default=3, help="scans of each kind; a figure is the median")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="run what is saved already as well")
    args = parser.parse_args(arguments)
    if args.name and len(args.mode) > 1:
        parser.error("--name needs a single --mode")
    console = Console(width=150)
    if not args.show:
        check_data_dir(parser, args.data_dir)
        modes = [mode for mode in args.mode if mode not in {"fast", "sums"} or "coherence" in KEYS]
        for model in args.only:
            for samples in args.samples or SUBJECTS[model].samples:
                _measure(model, samples, modes, args)
    chosen = [row for row in read_rows(RESULTS) if row["model"] in args.only]
    console.print(table(chosen))
    return 0


def _measure(model: str, samples: int, modes: Sequence[str], args: Any) -> None:
    """Run the modes in turns and save their rows, but for what is saved already."""
    named = {mode: args.name or mode for mode in modes}
    saved = {tuple(row[key] for key in SUBJECT_KEYS) for row in read_rows(RESULTS)}
    wanted = [mode for mode in modes if args.again or (model, samples, named[mode]) not in saved]
    turns: dict[str, list[dict[str, Any]]] = {mode: [] for mode in wanted}
    for _ in range(args.turns):
        for mode in wanted:
            turns[mode].append(run_apart(model, samples, mode, args.data_dir, args.threads))
    for mode in wanted:
        workload = {"trained": SUBJECTS[model].trained, "threads": args.threads, "torch": torch.__version__}
        about = {"model": model, "samples": samples, "mode": named[mode]} | workload
        write_rows(RESULTS, replace_rows(read_rows(RESULTS), rows_of(turns[mode], about), SUBJECT_KEYS))


if __name__ == "__main__":
    raise SystemExit(main())
