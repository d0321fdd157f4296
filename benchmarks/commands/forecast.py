"""How accurate is the forecast of `cohaudit doctor`? It is compared with the scan itself.

    python -m benchmarks.commands.forecast          measure, and write results/forecast.json
    python -m benchmarks.commands.forecast --show   show the saved results
    python -m benchmarks.commands.forecast --wall   wall-clock time, for an otherwise idle machine

Forecast and scan run in a process of their own each. Unless --wall is given, time is processor time on one
thread: it hardly depends on what else the machine does. Measured on both fixtures and on untrained networks
of `benchmarks.shared.workloads`, with their own predictions as labels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_json
from benchmarks.shared.workloads import SPECS, make

RESULTS = paths.RESULTS / "forecast.json"
SIZES = {"mlp": 16_384, "resnet18-32": 512, "vit": 2048, "lstm": 8192}
"""Network → number of samples; the last three take longer than the doctor's trial may."""
USE_PROCESSOR_TIME = "import time; time.perf_counter = time.process_time; "
"""Code that lets a process measure its own processor time instead of the time on the wall."""
RUN = "from cohaudit.cli import main; main()"
"""Code that runs the command line."""


def write_project(folder: Path, name: str, samples: int) -> Path:
    """Write a network, its settings and data to a folder; return the checkpoint."""
    workload = make(SPECS[name], torch.device("cpu"), samples)
    with torch.no_grad():
        labels = torch.cat([workload.model(part).argmax(1) for part in workload.inputs.split(128)])
    labels[: 2 * workload.classes] = torch.arange(2 * workload.classes) % workload.classes  # none is missing
    np.savez(folder / "train.npz", inputs=workload.inputs.numpy(), labels=labels.numpy())
    torch.save(workload.model.state_dict(), folder / "model.pt")
    code = "from benchmarks.shared.workloads import SPECS\n"
    (folder / "net.py").write_text(f"{code}def build(): return SPECS[{name!r}].build()\n")
    (folder / "cohaudit.toml").write_text('model = "net.py:build"\ndata = "train.npz"\n')
    return folder / "model.pt"


def run(wall: bool, *arguments: str) -> tuple[str, float, float]:
    """Run the command line on one thread; return its output, its seconds, and its peak memory in bytes."""
    command = [sys.executable, "-c", RUN if wall else USE_PROCESSOR_TIME + RUN, *arguments]
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}: {output}")
    seconds = time.perf_counter() - start if wall else usage.ru_utime + usage.ru_stime
    return output, seconds, usage.ru_maxrss * 1024.0


def compare(name: str, checkpoint: Path, wall: bool) -> Row:
    """Return the forecast of a scan, and its actual cost."""
    output, own, _ = run(wall, "doctor", str(checkpoint), "--json")
    found = {one["check"]: one["figures"] for one in json.loads(output)["findings"]}["forecast"]
    with tempfile.TemporaryDirectory() as out:
        _, seconds, peak = run(wall, "scan", str(checkpoint), "--out", out, "--quiet")
        timings = json.loads((Path(out) / "audit.json").read_text())["timings"]
        written = sum(file.stat().st_size for file in Path(out).iterdir())
    return {
        "network": name,
        "samples": found["samples"],
        "samples_tried": found["samples_tried"],
        "doctor_seconds": own,
        "forecast": {key: found[key] for key in ("seconds", "seconds_gradients", "seconds_pairs")}
        | {"peak_bytes": found["peak_bytes"], "report_bytes": found["report_bytes"]},
        "scan": {
            "seconds": seconds,
            "seconds_gradients": timings["measure the gradients"],
            "seconds_pairs": timings["compare the samples"],
            "peak_bytes": peak,
            "report_bytes": written,
        },
    }


def show(rows: list[Row]) -> None:
    """Print forecast and measurement side by side."""
    table = Table("network", "samples", "tried", "doctor, s")
    for column in ("scan, s", "gradients, s", "pairs, s", "peak, MB", "report, MB"):
        table.add_column(f"{column}: forecast / measured", justify="right")
    for row in rows:
        units = {key: 1e6 if key.endswith("bytes") else 1.0 for key in row["scan"]}
        pairs = [
            f"{row['forecast'][key] / unit:,.1f} / {row['scan'][key] / unit:,.1f}"
            for key, unit in units.items()
        ]
        table.add_row(
            row["network"],
            f"{row['samples']:,}",
            f"{row['samples_tried']:,}",
            f"{row['doctor_seconds']:.1f}",
            *pairs,
        )
    Console(width=150).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    parser.add_argument("--wall", action="store_true", help="measure wall-clock time")
    parser.add_argument("--only", default="", help="measure one network or fixture, and write nothing")
    args = parser.parse_args(arguments)
    if args.show:
        show(read_rows(RESULTS))
        return 0
    rows = []
    for name in ("digits", "tumors", *SIZES):
        if args.only not in {"", name}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = paths.FIXTURES / name / "model.safetensors"
            if name in SIZES:
                path = write_project(Path(folder), name, SIZES[name])
            rows.append(compare(name, path, args.wall))
            show(rows[-1:])
    if not args.only:
        write_json(RESULTS, rows)
        show(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
