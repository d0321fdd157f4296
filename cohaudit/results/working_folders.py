"""Folders of files that are being written, and what a run that was killed left of them.

Files are complete in a working folder before the first is renamed into place. Between two renames, a reader
must not find a file of the new set beside one of the old: the old ones are moved away first. Signals wait
meanwhile. A run that is killed even so leaves its working folder, and the next run finishes or removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_PREFIX = ".cohaudit-"
"""Begins the name of a working folder."""
_NAME = re.compile(r"\.cohaudit-(?P<host>[0-9a-zA-Z]*)-(?P<process>\d+)-.*")
"""Name of a working folder: the machine and the process that made it."""
_OLD = ".cohaudit-replaced"
"""Folder, inside a working folder, of the files that are replaced."""
_COMPLETE = ".cohaudit-complete"
"""File that says that every other file in a working folder is complete; it lists them in order."""


def make_working_folder(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a working folder inside a folder, after those of runs that were killed are removed.

    Args:
        folder: Folder of the results; it exists.
    """
    remove_abandoned(folder)
    return tempfile.TemporaryDirectory(
        dir=folder, prefix=f"{_PREFIX}{_host()}-{os.getpid()}-", ignore_cleanup_errors=True
    )


def remove_abandoned(folder: Path) -> None:
    """Finish or remove the working folders in a folder whose process on this machine has ended."""
    with contextlib.suppress(OSError):
        for left in list(folder.iterdir()):
            name = _NAME.fullmatch(left.name)
            if name and name["host"] == _host() and not _is_running(int(name["process"])) and left.is_dir():
                _finish(left, folder)
                shutil.rmtree(left, ignore_errors=True)


def put_in_place(aside: Path, folder: Path, names: Sequence[str]) -> None:
    """Rename complete files into their folder, as a set.

    Args:
        aside: Working folder inside `folder` that holds the files.
        folder: Folder of the results.
        names: Names of the files. While they are renamed, the last one is missing.

    Raises:
        OSError: If one cannot be renamed; the folder then has its former files.
    """
    old = aside / _OLD
    with _undisturbed():
        old.mkdir()
        (aside / _COMPLETE).write_text("\n".join(names), encoding="utf-8")
        moved: list[str] = []
        try:
            # the last one goes first and comes last: whoever finds it finds all of them
            for name in reversed(names):
                if (folder / name).is_symlink() or (folder / name).exists():
                    (folder / name).replace(old / name)
            for name in names:
                (aside / name).replace(folder / name)
                moved.append(name)
        except OSError:
            for name in moved:
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
            for kept in old.iterdir():
                kept.replace(folder / kept.name)
            raise


def _finish(aside: Path, folder: Path) -> None:
    """Rename the files that a run was killed before renaming, if all of them were complete."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        names = (aside / _COMPLETE).read_text(encoding="utf-8").split("\n")
        if all(Path(name).name == name for name in names):
            for name in names:
                if (aside / name).is_file():
                    (aside / name).replace(folder / name)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block has ended."""
    waiting = getattr(signal, "pthread_sigmask", None)
    if waiting is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = waiting(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        waiting(signal.SIG_SETMASK, before)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to somebody else
        return True
    return True


def _host() -> str:
    """Return the name of this machine in letters and digits: on a shared drive, others write too."""
    return re.sub(r"[^0-9a-zA-Z]", "", socket.gethostname())[:40]
