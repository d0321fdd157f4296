"""Runs commands in copies of this process, and records how each ended: code, seconds, memory, files.

One copy runs many commands, one after another, because a copy for each would cost more than most of them. If
one ends it, or does not end, the next copy goes on with the one after that.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

GIVE_UP = 30.0
"""Seconds after which a command counts as hanging."""
HUNG = -9
"""Exit code of a command that had to be ended."""
LOADED = (
    "pandas",
    "pyarrow.parquet",
    "cohaudit.cli",
    "cohaudit.pipeline.scan",
    "cohaudit.pipeline.preflight",
    "cohaudit.loading.checkpoint",
    "cohaudit.loading.data",
    "cohaudit.report",
    "cohaudit.review",
)
"""What the copies find imported."""
CANARY = "canary"
"""Name of the file that code in a hostile file would make, in the folder of the run."""
LONGEST_OUTPUT = 20_000
"""Characters of its output that are kept."""
OWN = {"__pycache__"}
"""What Python itself leaves behind: it keeps the compiled code of the user's model."""

Make = Callable[[random.Random, Path], list[str]]
"""Writes a file into a folder, and returns the arguments of a command that reads it."""


@dataclass(frozen=True)
class Case:
    """A hostile file."""

    name: str
    """What it is called in messages."""
    seed: int
    """Seed of the generator that makes it."""
    make: Make
    """What makes it."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; minus the signal that ended it."""
    seconds: float
    """Seconds that it took, on the clock."""
    megabytes: float
    """Largest memory that it took beside what its process had before, children included."""
    output: str
    """What it printed on standard output and standard error."""
    new: Sequence[str] = ()
    """Names of the files that it left, in its folder and beside it."""
    canary: bool = False
    """Whether code of the input ran."""


def run_bounded(cases: Sequence[Case], root: Path, support: Callable[[Path], None]) -> Iterator[Ended]:
    """Run one command after another, each in a folder of its own that is removed after it.

    Args:
        cases: What to run.
        root: An empty folder.
        support: Writes what stands beside each file.

    Yields:
        How each ended, in their order.
    """
    for module in LOADED:
        importlib.import_module(module)
    at = 0
    while at < len(cases):
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run_all(cases[at:], root / str(at), support, writer)
        os.close(writer)
        try:
            for ended in _reports(reader, len(cases) - at):
                at += 1
                yield ended
        finally:
            os.close(reader)
            done, status = os.waitpid(child, os.WNOHANG)
            if not done:
                os.killpg(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
        if at < len(cases):  # this one ended the process
            code = os.waitstatus_to_exitcode(status)
            yield Ended(code, GIVE_UP if code == HUNG else 0.0, 0.0, "it ended its process")
            at += 1


def _reports(reader: int, most: int) -> Iterator[Ended]:
    """Yield what the copy reports, until it ends or takes too long."""
    text = b""
    given = 0
    while given < most and select.select([reader], [], [], GIVE_UP)[0]:
        block = os.read(reader, 1 << 16)
        if not block:
            return
        *lines, text = (text + block).split(b"\n")
        for line in lines:
            given += 1
            yield Ended(**json.loads(line))


def _run_all(cases: Sequence[Case], root: Path, support: Callable[[Path], None], writer: int) -> None:
    """Run all commands in this copy, and end it."""
    try:
        os.setsid()
        root.mkdir()
        support(root / "honest")
        for k, case in enumerate(cases):
            line = json.dumps(asdict(_run(case, root / f"f{k}", root / "honest"))) + "\n"
            view = line.encode()
            while view:
                view = view[os.write(writer, view) :]
    finally:
        os._exit(0)


def _run(case: Case, folder: Path, honest: Path) -> Ended:
    from cohaudit.cli import main

    shutil.copytree(honest, folder)
    os.chdir(folder)
    try:
        arguments = case.make(random.Random(case.seed), folder)
        before = _files(folder.parent)
        _reset_peak()
        own, children = _peak(), _children()
        written = io.BytesIO()
        output = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
        start = time.monotonic()
        with redirect_stdout(output), redirect_stderr(output):
            try:
                main(arguments, prog_name="cohaudit")
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
        seconds = time.monotonic() - start
        new = _files(folder.parent) - before
        return Ended(
            code,
            seconds,
            max(_peak() - own, _children() - own if _children() > children else 0.0, 0.0),
            written.getvalue().decode("utf-8", "replace")[-LONGEST_OUTPUT:],
            sorted(name for name in new if not OWN & set(Path(name).parts)),
            any(Path(name).name == CANARY for name in new),
        )
    finally:
        os.chdir(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _reset_peak() -> None:
    """Begin to count the largest memory again, where the system can."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    """Return the largest memory of this process since then, in megabytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def _children() -> float:
    """Return the largest memory of any child so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
