"""Keeps the user's code from ending the program with an exit code that no gate was held against.

`os._exit`, and the functions that replace a process by another program, end it at once with any exit code:
0 would pass for a scan whose gates hold. While a command runs they raise instead, as any code that a scan
calls may. Once its exit code is known, nothing turns that into 0 again. Children keep them as they are: a
worker that loads data ends that way. Code that ends the process from C is out of reach; a gate that must hold
against code of unknown origin is `cohaudit check` on the written audit, which runs no code of the user.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from cohaudit.errors import BAD_INPUT

_REPLACED = ("execv", "execve")
"""Functions of `os` that all others which replace the process by another program are made of."""
_end = os._exit
"""The function itself."""
_codes: dict[int, int] = {}
"""Number of a process → its exit code, once that is known."""


class CalledExit(BaseException):
    """The user's code called a function that would have ended the process; its text is the call."""


@contextmanager
def holding_exits() -> Iterator[None]:
    """Raise `CalledExit` in place of what would end this process, while the block runs."""
    before = _hold()
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(os, name, function)


def settle(code: int) -> None:
    """From now on, end this process with an exit code, even where what runs at its end asks for another."""
    _codes[os.getpid()] = code
    _hold()


def end_process(code: int) -> NoReturn:
    """End this process at once, whether exits are held or not."""
    _end(code)


def _hold() -> dict[str, Callable[..., Any]]:
    """Put what raises in the place of the functions, and return them."""
    before = {name: getattr(os, name) for name in ("_exit", *_REPLACED) if hasattr(os, name)}
    owner = os.getpid()
    for name, function in before.items():
        setattr(os, name, _held(name, function, owner))
    return before


def _held(name: str, function: Callable[..., Any], owner: int) -> Callable[..., Any]:
    def held(*arguments: Any) -> Any:
        if os.getpid() != owner:
            return function(*arguments)
        if owner in _codes:
            end_process(_codes[owner])
        call = f"os.{name}({', '.join(map(repr, arguments))[:100]})"
        if threading.current_thread() is not threading.main_thread():
            # an exception would end the thread alone, and a watchdog means the program
            sys.stderr.write(f"error: a thread ended the program: it called {call}\n")
            sys.stderr.flush()
            end_process(BAD_INPUT)
        raise CalledExit(call)

    return held
