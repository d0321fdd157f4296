"""Checks of the machine: packages, devices, memory."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from cohaudit import __version__
from cohaudit.doctor.finding import Figures, Finding, amount
from cohaudit.errors import MissingExtraError, describe_error

PACKAGES = ("torch", "numpy", "pandas", "matplotlib", "safetensors")
"""Packages that a scan imports; a bug report needs their versions."""
EXTRAS = {"parquet": "pyarrow", "encoders": "transformers"}
"""Extra of cohaudit → the package that it installs."""
MEMORY_FILE = Path("/proc/meminfo")
"""File in which Linux says how much memory is free."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Folder in which Linux says how much memory a container may use."""


def versions() -> Finding:
    """Import the packages of a scan, and report their versions; the figures include the seconds it took."""
    start = time.perf_counter()
    broken = {}
    figures: dict[str, Any] = {"cohaudit": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a package that was built for another version of one can raise anything
            broken[name] = describe_error(error)
        else:
            figures[name] = _version(name)
    figures["seconds"] = time.perf_counter() - start
    words = ", ".join(f"{name} {figures[name]}" for name in figures if name not in {"python", "seconds"})
    words = f"{words}, Python {figures['python']} on {platform.system()} {platform.machine()}"
    if broken:
        failures = "; ".join(f"importing {name} raised {what}" for name, what in broken.items())
        names = " ".join(broken)
        return Finding(
            "versions",
            "failed",
            f"{words}; {failures}",
            f"install what is missing: {sys.executable} -m pip install --force-reinstall {names}",
            figures,
        )
    return Finding("versions", "ok", words, figures=figures)


def extras() -> Finding:
    """Report which optional packages are installed, and how to install the others."""
    there = {extra: importlib.util.find_spec(package) is not None for extra, package in EXTRAS.items()}
    words = [
        f"{extra}: {package} {_version(package)}" if there[extra] else f"{extra}: {package} is not installed"
        for extra, package in EXTRAS.items()
    ]
    lines = [MissingExtraError("", package, extra).remedy for extra, package in EXTRAS.items()]
    wanted = [line for line, is_there in zip(lines, there.values(), strict=True) if not is_there]
    remedy = f"to use them: {'; '.join(wanted)}" if wanted else ""
    return Finding("extras", "ok", ", ".join(words), remedy, there)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a folder on the path, not installed
        return "(version unknown)"


def devices(name: str) -> Finding:
    """Report what torch can run on, and which device a scan would use.

    Args:
        name: Value of the key `device`.

    Raises:
        ConfigError: If there is no such device.
    """
    import torch

    from cohaudit.loading.model import resolve_device

    chosen = resolve_device(name)
    words, figures = _describe(chosen, name)
    failure = _failure(chosen)
    if failure:
        found = f"{words}; {chosen} does not compute: {failure}"
        remedy = "use --device cpu, or install the torch build for this device: https://pytorch.org"
        return Finding("device", "failed", found, remedy, figures)
    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        found = f"{words}, although nvidia-smi is installed; torch is {built}"
        remedy = "compare its CUDA version with the driver's, shown by nvidia-smi, or use --device cpu"
        return Finding("device", "warning", found, remedy, figures)
    cpus = usable_cpus()
    if torch.get_num_threads() > cpus:
        remedy = f"set OMP_NUM_THREADS={cpus}: more threads than CPUs wait for each other"
        return Finding("device", "warning", words, remedy, figures)
    return Finding("device", "ok", words, figures=figures)


def _describe(chosen: Any, name: str) -> tuple[str, Figures]:
    """Return the device in words and figures.

    Args:
        chosen: The torch.device that is used.
        name: Value of the key `device`.
    """
    import torch

    cpus = usable_cpus()
    threads = torch.get_num_threads()
    memory = free_memory()
    words = f"{chosen} (device = {name}); {cpus} CPU{'s' * (cpus != 1)}, torch uses {threads}"
    words += f"; {amount(memory)} memory free" if memory is not None else ""
    words += f"; {'; '.join(_accelerators()) or 'no CUDA, no MPS'}"
    figures: Figures = {
        "device": str(chosen),
        "cpus": cpus,
        "torch_threads": threads,
        "memory_free": memory,
        "cuda_devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "device_memory_free": device_memory(chosen),
    }
    return words, figures


def _accelerators() -> Iterator[str]:
    import torch

    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(k)
        name = torch.cuda.get_device_name(k)
        yield f"cuda:{k} {name}, {amount(free)} of {amount(total)} free"
    if torch.backends.mps.is_available():
        yield "mps, which uses main memory"


def _failure(device: Any) -> str:
    """Return the error when a device adds two numbers; empty if it succeeds."""
    import torch

    try:
        (torch.ones(2, device=device) + 1).sum().item()
    except RuntimeError as error:  # this build of torch has no kernels for the GPU, or the driver is too old
        return describe_error(error)
    return ""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    # a container or a batch system may allow fewer CPUs than the machine has
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_memory(device: Any) -> int | None:
    """Return the free bytes of a CUDA device; None for other devices, which have no memory of their own."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def free_memory(file: Path = MEMORY_FILE, group: Path = CONTROL_GROUP) -> int | None:
    """Return the bytes that this process may still use; None if the system does not say.

    Args:
        file: File in the format of Linux's /proc/meminfo.
        group: Folder in the format of its /sys/fs/cgroup, which limits a container.
    """
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        used = int((group / "memory.current").read_text())
        # files cached in memory count as used, but the system drops them before it kills a process
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, int((group / "memory.max").read_text()) - used + int(held["inactive_file"]))
    except (OSError, KeyError, ValueError):  # no limit (the file says "max"), or it cannot be read
        return free


def forget_peak(device: Any) -> None:
    """Reset `peak_memory`, if the system allows it."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not allowed
        # 5 resets the high-water mark of the resident set, see proc(5)
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: Any) -> int | None:
    """Return the most bytes that this process has used, on a CUDA device or else in main memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        # VmHWM is the mark that `forget_peak` resets
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    # getrusage counts in bytes on macOS and in kilobytes elsewhere
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
