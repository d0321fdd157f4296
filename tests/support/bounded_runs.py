"""Runs a command in a copy of this process, and records how it ended: code, seconds, memory, files."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cohaudit.cli import main

GIVE_UP = 60.0
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; minus the signal that ended it, −9 if it hung."""
    seconds: float
    """Processor time that it took, in itself and in its own children."""
    megabytes: float
    """Largest memory that it took beside that of this process."""
    output: str
    """What it printed on standard output and standard error."""


def run_bounded(arguments: Sequence[str], folder: Path) -> Ended:
    """Run cohaudit in a fork, which has all packages loaded: a new process would take seconds to start."""
    output = folder.parent / f"{folder.name}.output"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run(arguments, folder, output)
    end = time.monotonic() + GIVE_UP
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.002)
    return Ended(
        os.waitstatus_to_exitcode(status),
        usage.ru_utime + usage.ru_stime,
        max(0, usage.ru_maxrss - before) / 1024,
        output.read_text(encoding="utf-8", errors="replace") if output.exists() else "",
    )


def _run(arguments: Sequence[str], folder: Path, output: Path) -> None:
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        try:
            main(list(arguments), prog_name="cohaudit")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
