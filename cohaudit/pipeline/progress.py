"""Progress, injected into the audit from outside: the audit advances it and never prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

Advance = Callable[[int], None]
"""Called with the number of samples done since the last call."""


class Progress(Protocol):
    """Whoever wants to know how far a scan is."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Announce a stage of the work; it lasts as long as the returned context.

        Args:
            name: What is done, in a few words.
            total: Samples to go through, when known.
        """


class SilentProgress:
    """Says nothing: the default from Python, and under --quiet."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        yield lambda samples: None


WORTH_A_LINE = 1.0
"""Seconds that a stage takes before a log says that it is done."""


BETWEEN_LINES = 30.0
"""Seconds after which a log says how far a stage is."""


class LineProgress:
    """A line when a stage that counts samples starts, some on its way, and one if it took a while: for logs.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        if total is not None:
            self._say(f"{name}: {total:,} samples")
        start = said = time.perf_counter()
        done = 0

        def advance(samples: int) -> None:
            nonlocal said, done
            done += samples
            if total is not None and time.perf_counter() - said >= BETWEEN_LINES:
                said = time.perf_counter()
                self._say(f"{name}: {done:,} of {total:,} samples")

        yield advance
        seconds = time.perf_counter() - start
        if seconds >= WORTH_A_LINE:
            self._say(f"{name}: done in {seconds:.1f} s")

    def _say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


class BarProgress:
    """A bar per running stage, gone when it is finished: for terminals.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        task = self._bars.add_task(name, total=total)
        try:
            self._bars.start()  # within, as it hides the cursor: Ctrl-C may come right then
            yield lambda samples: self._bars.advance(task, samples)
        finally:
            self._bars.refresh()  # bars are drawn ten times a second: show the last count too
            self._bars.remove_task(task)
            if not self._bars.tasks:
                self._bars.stop()


def progress_on(console: Console) -> Progress:
    """Return the progress that suits `console`: bars on a terminal, lines in a log, of whatever color."""
    # not console.is_terminal: FORCE_COLOR makes a log colored, and no terminal
    if console.file.isatty() and not console.is_dumb_terminal:
        return BarProgress(console)
    return LineProgress(console.file)


class Stages:
    """Announces the stages of an audit and keeps the time each one took.

    Args:
        progress: Told about each.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.timings: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, total: int | None = None) -> Iterator[Any]:
        """Open a stage; what is given is called with the number of samples done."""
        start = time.perf_counter()
        with self._progress.stage(name, total) as advance:
            yield advance
        self.timings[name] = time.perf_counter() - start
