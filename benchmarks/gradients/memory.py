"""Peak memory of one pass of one method, each in a process of its own: part of `benchmarks.gradients`.

    python -m benchmarks.gradients.memory mlp cohaudit cpu 1 0   network, method, device, threads, samples

On a GPU it is torch's peak of allocated memory, on the CPU the growth of the resident set; in both cases
beyond what the model, the data and the libraries take before the pass begins.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gradients.registry import METHODS, short, usual_samples
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.workloads import SPECS, make

STATUS = Path("/proc/self/status")
"""Memory of this process, on Linux."""
CLEAR = Path("/proc/self/clear_refs")
"""File that resets the peak in STATUS."""


def _resident(field: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of this process in MB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return float(line.split()[1]) / 1024


class Peak:
    """Growth of memory since its creation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device) / 2**20
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what the warm-up left free is not in use
            CLEAR.write_text("5")  # resets VmHWM
            self._before = _resident("VmRSS")

    def growth(self) -> float:
        """Return the peak since then in MB, less what was in use then."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20 - self._before
        return _resident("VmHWM") - self._before


def measure_here(model: str, method: str, device: torch.device, samples: int) -> dict[str, float | str]:
    """Run one pass in this process; return its peak_mb, or its error."""
    try:
        workload = make(SPECS[model], device, samples)
        run = METHODS[method](workload)
        run(workload.head(2))  # loads libraries, starts threads
        if device.type == "cpu" and not STATUS.exists():
            return {}  # outside Linux the file does not exist, and the peak is unknown
        peak = Peak(device)
        found = run(workload.head(usual_samples(method, len(workload.labels))))
        return {"peak_mb": peak.growth()} | dict(found.extras or {})
    except Exception as error:  # a peer may fail in any way, and the run goes on
        return {"error": short(error)}


def measure_apart(model: str, method: str, device: str, threads: int, samples: int) -> dict[str, float | str]:
    """Run one pass in a fresh process; return its peak_mb, or its error."""
    module = [sys.executable, "-m", "benchmarks.gradients.memory"]
    command = [*module, model, method, device, str(threads), str(samples)]
    process = subprocess.run(
        command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    if process.returncode:
        return {"error": f"its process ended with code {process.returncode} (memory?)"}
    answer: dict[str, float | str] = json.loads(process.stdout.splitlines()[-1])
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one pass, print it as JSON for `measure_apart`, and return the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("model", choices=SPECS)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("device")
    parser.add_argument("threads", type=int)
    parser.add_argument("samples", type=int)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    print(json.dumps(measure_here(args.model, args.method, torch.device(args.device), args.samples)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
