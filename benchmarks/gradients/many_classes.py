"""How do time and memory of a scan grow with the samples, where there are a thousand classes?

    python -m benchmarks.gradients.many_classes                        100,000 samples, then a million
    python -m benchmarks.gradients.many_classes --samples 20000        other numbers
    python -m benchmarks.gradients.many_classes --show                 show the saved results

Features of 128 numbers in clusters, one a class, 5 % of their labels wrong, and one sample in 500 a copy of
another with a little noise, through a network of two layers that is trained on them. Seconds are CPU seconds
of the process, its threads together; memory is the peak of the resident set in each stage, with all that the
process holds then. `wrong` is the share of wrong labels among those more likely wrong than right, `found` the
share of the wrong ones among them, `copies` that of the copies that are found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import cohaudit
from benchmarks.gradients.memory import CLEAR, STATUS
from benchmarks.gradients.scan_process import WRITE_REPORT, CpuProgress
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows
from cohaudit.report.write import write_report

RESULTS = paths.RESULTS / "many_classes.json"
SAMPLES = (100_000, 1_000_000)
CLASSES = 1000
WIDTH = 128
"""Numbers of a sample."""
HIDDEN = 256
"""Width of the network's one hidden layer."""
SPREAD = 0.5
"""Standard deviation of the centers of the classes, in units of that within them."""
WRONG = 0.05
"""Share of wrong labels, drawn uniformly from the other classes."""
COPIES = 500
"""One sample in so many is a copy of another."""
STEPS = 2500
"""Steps of the training, of 512 samples each."""


class Clusters(NamedTuple):
    """Samples in clusters.

    Attributes:
        features: float32 [N, WIDTH].
        labels: Given labels, [N].
        wrong: Which of them are wrong, [N].
        copies: Indices of the samples that are copies.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    copies: NDArray[np.int64]


def make_clusters(samples: int, classes: int = CLASSES) -> Clusters:
    """Return samples in clusters, one a class.

    Args:
        samples: Number of samples, at least `COPIES`.
        classes: Number of classes.
    """
    generator = np.random.default_rng(0)
    true = generator.integers(classes, size=samples)
    centers = SPREAD * generator.standard_normal((classes, WIDTH), dtype=np.float32)
    features = generator.standard_normal((samples, WIDTH), dtype=np.float32)
    features += centers[true]
    wrong = generator.random(samples) < WRONG
    labels = true.copy()
    labels[wrong] = (true[wrong] + generator.integers(1, classes, size=int(wrong.sum()))) % classes
    copies = generator.choice(samples, size=samples // COPIES, replace=False)
    noise = 0.01 * generator.standard_normal((len(copies), WIDTH), dtype=np.float32)
    features[copies] = features[(copies + samples // 2) % samples] + noise
    return Clusters(features, labels, wrong, copies)


def train(data: Clusters) -> nn.Module:
    """Return a network that is trained on the samples."""
    torch.manual_seed(0)
    classes = int(data.labels.max()) + 1
    model = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    x, y = torch.from_numpy(data.features), torch.from_numpy(data.labels)
    for _ in range(STEPS):
        chosen = torch.randint(len(y), (512,))
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
    return model


class MemoryProgress(CpuProgress):
    """Records each stage's peak of memory too.

    Attributes:
        peaks: Stage → peak of the resident set, in MB; empty outside Linux.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peaks: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Any]:
        """See `cohaudit.pipeline.progress.Progress`."""
        if STATUS.exists():
            CLEAR.write_text("5")  # resets VmHWM
        with super().stage(name, total) as advance:
            yield advance
        if STATUS.exists():
            line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
            self.peaks[name.partition(" (")[0]] = float(line.split()[1]) / 1024


def measure(samples: int) -> list[Row]:
    """Scan so many samples in this process; return a row for each stage, and one for all."""
    data = make_clusters(samples)
    model = train(data)
    progress = MemoryProgress()
    start = time.process_time()
    audit = cohaudit.scan(model, (data.features, data.labels), progress=progress)
    with progress.stage(WRITE_REPORT), tempfile.TemporaryDirectory() as folder:
        write_report(audit, folder)
    total = time.process_time() - start
    likely = audit.samples["suspicion"].to_numpy() > 0.5
    twins = (audit.samples["duplicate_of"] != "").to_numpy()
    subject: Row = {"samples": samples, "classes": CLASSES}
    rows = [
        subject | {"stage": name, "cpu_seconds": round(seconds, 1), "peak_mb": _rounded(progress, name)}
        for name, seconds in progress.seconds.items()
    ]
    whole = subject | {
        "stage": "total",
        "cpu_seconds": round(total, 1),
        "peak_mb": round(max(progress.peaks.values())) if progress.peaks else None,
        "wrong": round(float(data.wrong[likely].mean()), 4),
        "found": round(float(likely[data.wrong].mean()), 4),
        "copies": round(float(twins[data.copies].mean()), 4),
        "told": not isinstance(audit.wrong_labels, cohaudit.Skipped) and audit.wrong_labels.told,
    }
    return [*rows, whole]


def _rounded(progress: MemoryProgress, stage: str) -> int | None:
    return round(progress.peaks[stage]) if stage in progress.peaks else None


def measure_apart(samples: int) -> list[Row]:
    """Do the same in a process of its own, whose memory holds nothing else."""
    command = [sys.executable, "-m", "benchmarks.gradients.many_classes", "--here", "--samples", str(samples)]
    done = subprocess.run(command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal, a column pair for each number of samples."""
    sizes = sorted({row["samples"] for row in rows})
    result = Table("stage", title=f"CPU seconds and peak MB of a scan, {CLASSES:,} classes")
    for size in sizes:
        result.add_column(f"{size:,}", justify="right")
        result.add_column("MB", justify="right")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        cells: list[str] = []
        for size in sizes:
            found = [row for row in rows if (row["stage"], row["samples"]) == (stage, size)]
            peak = found[0]["peak_mb"] if found else None
            cells += [f"{found[0]['cpu_seconds']:,.1f}" if found else "", f"{peak:,}" if peak else ""]
        result.add_row(stage, *cells)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or show the saved results; return the exit code."""
    parser = make_parser(__doc__, show=True)
    parser.add_argument("--samples", type=int, nargs="+", default=list(SAMPLES), metavar="N")
    parser.add_argument("--here", action="store_true", help="in this process, and print the rows")
    args = parser.parse_args(arguments)
    console = Console(width=110)
    if args.here:
        sys.stdout.write(json.dumps(measure(args.samples[0])) + "\n")
        return 0
    rows = read_rows(RESULTS)
    if not args.show:
        for samples in args.samples:
            rows = replace_rows(rows, measure_apart(samples), ("samples",))
            write_rows(RESULTS, rows)
    console.print(table(rows))
    for row in rows:
        if row["stage"] == "total":
            console.print(
                f"{row['samples']:,} samples: wrong {row['wrong']:.3f}, found {row['found']:.3f}, "
                f"copies {row['copies']:.3f}; share of wrong labels told: {row['told']}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
