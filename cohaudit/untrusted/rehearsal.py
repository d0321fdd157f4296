"""Reads a file first in a child process with limits, where a library cannot be limited otherwise.

An unpickler can be made to compute a hash for ever, inside one call that nothing interrupts, and a reader of
tables to take any amount of memory. The child is a fork of this process: it has all packages loaded, starts
within milliseconds, does the work once, and is ended if it takes too long. Only if it succeeds is the work
done again, here. It costs what the work costs, which for weights that are mapped into memory is little.

Windows has no fork: there the work is not rehearsed. The limits that need no child still hold.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cohaudit.errors import is_out_of_memory

_LONGEST_TEXT = 2_000
"""Characters of an exception that the child reports."""
_READ_SIZE = 1 << 16
"""Bytes of the child's report to read at a time."""


@dataclass(frozen=True)
class Rehearsal:
    """How a rehearsal ended.

    Attributes:
        outcome: done, failed (the work raised), time, memory, or crashed (the process was ended by a signal).
        error: Name of the exception's class; empty unless it failed.
        text: Text of the exception.
    """

    outcome: str
    error: str = ""
    text: str = ""

    @property
    def went_well(self) -> bool:
        """Whether the work can be done here."""
        return self.outcome == "done"


def rehearse(work: Callable[[], object], memory: int, seconds: float) -> Rehearsal:
    """Do some work in a child process with limits, and throw its result away.

    Args:
        work: Reads a file; it must not touch a GPU.
        memory: Bytes that it may take.
        seconds: Seconds that it may take.

    Returns:
        How it ended; done on systems without fork, where it is not tried.
    """
    if not hasattr(os, "fork"):
        return Rehearsal("done")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # newer versions of Python warn of threads; the child needs none, and is ended if it waits for a lock
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reader)
        _work_in_child(work, memory, seconds, writer)
    os.close(writer)
    try:
        report = _report(reader, seconds)
    finally:
        os.close(reader)
        # killed in any case: it has nothing more to do, and a signal here must leave no child behind
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if report is None:
        return Rehearsal("time")
    return _parsed(report)


def _report(reader: int, seconds: float) -> bytes | None:
    """Return what the child wrote before it ended; None if it took too long."""
    end = time.monotonic() + seconds
    report = b""
    while (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            block = os.read(reader, _READ_SIZE)
            if not block:
                return report
            report += block
    return None


def _parsed(report: bytes) -> Rehearsal:
    # a child that was ended by the system wrote nothing
    fields = report.decode("utf-8", "replace").split("\0") if report else ["crashed"]
    return Rehearsal(*fields[:3])


def _work_in_child(work: Callable[[], object], memory: int, seconds: float, writer: int) -> None:
    """Do the work, report how it ended, and end the process."""
    fields = ["crashed"]
    try:
        _limit(memory, seconds)
        # what the work prints, and what the limits make others print, belongs to nobody
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        work()
        fields = ["done"]
    except BaseException as error:
        failed = ["failed", type(error).__name__, _text(error)]
        fields = ["memory"] if is_out_of_memory(error) else failed
    finally:
        os.write(writer, "\0".join(fields).encode("utf-8", "replace"))
        # not sys.exit: the parent's buffers and temporary folders are not the child's to write and remove
        os._exit(0)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_TEXT].replace("\0", "")
    except Exception:  # the text of an exception can be computed by a file's object
        return ""


def _limit(memory: int, seconds: float) -> None:
    """Limit memory and time of this process."""
    import resource

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends the child
    # in case the parent itself is killed meanwhile
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = _address_space() + memory
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _address_space() -> int:
    """Return the bytes that this process has mapped; 0 leaves the packages' own memory to the limit."""
    if not sys.platform.startswith("linux"):
        return 1 << 40  # others count, and enforce, differently: only the time is limited there
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
