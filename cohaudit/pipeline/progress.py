"""Progress, injected into the scan from outside: the scan advances it and never prints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from cohaudit.pipeline.notebook import NotebookProgress, in_notebook
from cohaudit.results.wording import duration

if TYPE_CHECKING:
    # the registry imports torch, which a command that only shows progress need not wait for
    from cohaudit.audits.registry import Advance

RUN_EARLIER = "run the earlier checkpoints"
"""Stage that takes a pass over the samples for each earlier checkpoint."""
LOOK_AT_SAMPLES = "look at some samples"
"""Stage that runs the network on a few samples, before a long pass over all."""
MEASURE_GRADIENTS = "measure the gradients"
"""Stage that takes most of the time, linear in the samples; the forecast extrapolates it by name."""
MEASURE_DRAWN = "measure single gradients"
"""Stage that measures the gradients of some samples one by one; their number hardly grows with the data's."""
MEASURE_HOLDOUT = "measure the holdout"
"""Stage that measures the holdout's gradients."""
PREDICT_FROM_DATA = "predict labels from the raw data"
"""Stage in which models that never saw the network predict the labels."""
EMBED_SAMPLES = "embed the samples"
"""Stage in which a pretrained encoder runs on all samples."""
CROSSFIT = "cross-fit"
"""Stage that trains copies of the network, each on the other folds; its samples are those of all epochs."""
MEASURE_FLATNESS = "measure the flatness"
"""Stage that runs the network with noise in its weights, on some of the samples."""
COMPARE_SAMPLES = "compare the samples"
"""Stage that finds samples that look alike to the layers."""
JUDGE_LABELS = "judge the labels"
"""Stage that finds the verdict on every label."""
JUDGE = "judge"
"""Stage that turns the measurements into findings."""
COMPARE_GRADIENTS = "compare the gradients"
"""Stage that finds the samples that support or oppose those that are shown."""
GATHER_EVIDENCE = "gather the evidence"
"""Stage that collects what the report shows of single samples."""


class Progress(Protocol):
    """Receives how far a scan is."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Announce a stage of the work; it lasts as long as the returned context.

        Args:
            name: What is done, in a few words.
            total: Number of samples to go through, if known.
        """


class SilentProgress:
    """Shows nothing: the default from Python, and with --quiet."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        yield lambda samples: None


SLOW_STAGE_SECONDS = 1.0
"""Shortest stage that a log reports as done; quicker ones would only fill it."""
LOG_INTERVAL_SECONDS = 30.0
"""Seconds between two lines of a log about the same stage."""


class LineProgress:
    """Writes lines to a log: when a stage that counts samples starts, on its way, and if it took long.

    Args:
        stream: Stream to write to.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        if total is not None:
            self._say(f"{name}: {total:,} samples")
        start = logged = time.perf_counter()
        done = 0

        def advance(samples: int) -> None:
            nonlocal logged, done
            done += samples
            if total is not None and time.perf_counter() - logged >= LOG_INTERVAL_SECONDS:
                logged = time.perf_counter()
                left = (logged - start) * (total - done) / done if done else 0.0
                about = f", about {duration(left)} left" if left else ""
                self._say(f"{name}: {done:,} of {total:,} samples{about}")

        yield advance
        # not in a `finally`: a stage that failed is not done
        seconds = time.perf_counter() - start
        if seconds >= SLOW_STAGE_SECONDS:
            self._say(f"{name}: done in {seconds:.1f} s")

    def _say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


MIN_WIDTH_FOR_TIME_LEFT = 60
"""Characters of a line from which on the time left is shown."""
MIN_WIDTH_FOR_BAR = 80
"""Characters of a line in which bar and elapsed time have room beside the longest name of a stage. A narrower
line shows the time left in their place: that is what a person waits for."""


class BarProgress:
    """Draws a bar for each running stage on a terminal, and removes it when the stage ends.

    Args:
        console: Console to draw on.
    """

    def __init__(self, console: Console) -> None:
        # rich cuts the count where a line has no room for all columns
        has_room = console.width >= MIN_WIDTH_FOR_BAR
        bar, elapsed = ((BarColumn(bar_width=10),), (TimeElapsedColumn(),)) if has_room else ((), ())
        has_little_room = console.width >= MIN_WIDTH_FOR_TIME_LEFT
        left = (TextColumn("left:"), TimeRemainingColumn()) if has_little_room else ()
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *bar,
            MofNCompleteColumn(),
            *elapsed,
            *left,
            console=console,
            transient=True,
        )

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        task = self._bars.add_task(name, total=total)
        try:
            self._bars.start()  # inside the try: it hides the cursor, and Ctrl-C may come right after
            yield lambda samples: self._bars.advance(task, samples)
        finally:
            self._bars.refresh()  # bars are redrawn ten times a second only: show the last count too
            self._bars.remove_task(task)
            if not self._bars.tasks:
                self._bars.stop()


def progress_on(console: Console) -> Progress:
    """Return bars for a terminal, lines for anything else, such as a log or a pipe."""
    # not console.is_terminal: with FORCE_COLOR set, rich calls a colored log a terminal
    if console.file.isatty() and not console.is_dumb_terminal:
        return BarProgress(console)
    return LineProgress(console.file)


def chosen_progress(wanted: Progress | bool | None) -> Progress:
    """Return what a Python caller wants to be told by.

    Args:
        wanted: An object to tell; True for one that shows it, False for none, None to show it in a notebook.
    """
    if isinstance(wanted, bool) or wanted is None:
        if in_notebook() and wanted is not False:
            return NotebookProgress()
        return progress_on(Console(stderr=True)) if wanted else SilentProgress()
    return wanted


class Stages:
    """Announces the stages of a scan and times each one.

    Args:
        progress: Told about each stage.

    Attributes:
        timings: Name of each finished stage → seconds that it took.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.timings: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, total: int | None = None, about: str = "") -> Iterator[Any]:
        """Open a stage; the yielded function is called with the number of samples done.

        Args:
            name: See `Progress.stage`.
            total: See `Progress.stage`.
            about: What is shown of it beside its name, such as a forecast of its time.
        """
        start = time.perf_counter()
        with self._progress.stage(f"{name} ({about})" if about else name, total) as advance:
            yield advance
        # reached only if the stage has succeeded
        self.timings[name] = time.perf_counter() - start
