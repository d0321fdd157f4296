"""Progress inside a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cohaudit.results.wording import duration

if TYPE_CHECKING:
    from cohaudit.audits.registry import Advance

UPDATE_SECONDS = 0.2
"""Seconds between two updates of the line: a notebook sends each of them through its server."""


def in_notebook() -> bool:
    """Tell whether this is the process of a notebook's kernel."""
    # never imported for this: whoever is in a kernel has it already
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    # IPython in a terminal has a shell too, but no kernel
    return getattr(shell, "kernel", None) is not None


class NotebookProgress:
    """Shows the running stage in one line of the cell's output, and removes it when the stage ends."""

    def __init__(self) -> None:
        self._line: Any = None

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """See `Progress.stage`."""
        start = shown = time.perf_counter()
        done = 0
        self._show(f"{name} …")

        def advance(samples: int) -> None:
            nonlocal done, shown
            done += samples
            now = time.perf_counter()
            if total and now - shown >= UPDATE_SECONDS:
                shown = now
                left = (now - start) * (total - done) / done if done else 0.0
                about = f", about {duration(left)} left" if left else ""
                self._show(f"{name}: {done:,} of {total:,} samples{about}")

        try:
            yield advance
        finally:
            self._show("")

    def _show(self, line: str) -> None:
        from IPython.display import display

        # text/plain alone: every front end shows it, and a saved notebook keeps no markup of it
        content = {"text/plain": line}
        if self._line is None:
            self._line = display(content, raw=True, display_id=True)
        else:
            self._line.update(content, raw=True)
