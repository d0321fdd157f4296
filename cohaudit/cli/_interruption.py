"""Ctrl-C and SIGTERM end a command in the same way, with one line and one exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cohaudit.errors import Interrupted


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn both signals into `Interrupted` while the block runs.

    The user's code may raise KeyboardInterrupt itself; with a class of its own, an interruption that a person
    asked for can be told from that.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    # Python sets handlers only in the main thread
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # a signal that is ignored, as Ctrl-C is by background jobs of a script, stays ignored
    handled = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
