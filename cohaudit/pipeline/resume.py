"""An interrupted scan goes on where it was: its pass over the data is kept in files, and removed when done.

A folder holds one pass: `about.json`, all that its numbers depend on; `rows-FROM-TO.npz`, the samples
measured since the file before; and `sums.npz`, which is written last and says which of the others count. Each
is written aside and renamed: whenever the process ends, what is there is whole. All bear the same random
token: files of two scans in one folder are never taken for those of one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Container, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit._version import __version__
from cohaudit.audits.training.snapshot_cache import SHAPING, code_of
from cohaudit.config import KEYS, Config
from cohaudit.config.file import option_name
from cohaudit.errors import ReportError
from cohaudit.gradients import CheckpointStore, DamagedError, NullStore, PassState, ResumeState

FOLDER = ".unfinished"
"""Folder, in that of the report, of a pass that is not finished."""
EVERY = 30.0
"""Seconds of a pass after which it is kept again, if that takes no more than …"""
MOST_TIME = 0.02
"""… this share of the time. What is measured quickly is not worth keeping: it is not quickly written."""
FIRST_SPEED = 1e8
"""Bytes per second that a disk is taken to write, until it has shown how many it does."""
LOGGER = logging.getLogger(__name__)

_ABOUT = "about.json"
_SUMS = "sums.npz"
_OURS = re.compile(r"(about\.json|sums\.npz|rows-\d+-\d+\.npz)(\.part)?")
_HASHES = {
    "checkpoint": "another checkpoint",
    "data": "other data",
    "samples": "other samples",
    "code": "other code of the model or the data",
}


class ResumableRun:
    """The folder in which one scan keeps its passes, one after the other.

    Args:
        folder: Need not exist; None keeps nothing.
        fresh: Whether to begin anew, whatever is there.
    """

    def __init__(self, folder: Path | None, fresh: bool = False) -> None:
        self._folder = folder
        self._fresh = fresh
        self._keeper: PassStore | None = None

    def keeper(self, about: Mapping[str, str]) -> CheckpointStore:
        """Return who keeps the next pass; that before is finished and done with.

        Args:
            about: All that its numbers depend on; see `cache_key`.

        Raises:
            ReportError: It should begin anew, and what is there cannot be removed.
        """
        self.remove()
        if self._folder is None:
            return NullStore()
        if self._fresh:
            _empty(self._folder)
            if os.path.lexists(self._folder):
                found = "is not a folder of an interrupted scan alone, or may not be removed"
                raise ReportError(f"--fresh {self._folder}", found, "remove it, or name another --out")
            self._fresh = False
        self._keeper = PassStore(self._folder, about)
        return self._keeper

    def told(self) -> str:
        """Return where what was measured is kept, and how much that is; empty if nothing is."""
        if self._folder is None or self._keeper is None or not self._keeper.kept:
            return ""
        try:
            size = sum(path.stat().st_size for path in self._folder.iterdir())
        except OSError:  # somebody has removed it meanwhile
            return ""
        return (
            f"what was measured is kept in {self._folder} ({max(size / 1e6, 0.1):,.1f} MB): "
            "the same command goes on from there"
        )

    def remove(self) -> None:
        """Remove what this scan kept, once that is of no more use; what another one left there stays."""
        if self._folder and self._keeper and self._keeper.kept:
            _empty(self._folder)
        self._keeper = None


class PassStore:
    """Keeps one pass; see `gradients.CheckpointStore`.

    Args:
        folder: Where.
        about: All that its numbers depend on.

    Attributes:
        kept: Whether what lies in the folder is of this pass.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        self._folder = folder
        self._about = dict(about)
        self._token = ""
        self._shards: list[tuple[int, int]] = []
        self._begun = time.perf_counter()
        self._next = self._begun + EVERY
        self._spent = 0.0
        self._speed = FIRST_SPEED
        self._refused = False
        self._asked = False
        self.kept = False

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """Hand over what was kept of this pass before, if anything was; what nobody can use is removed.

        Raises:
            DamagedError: If it cannot be used; `restore` may have used some of it.
        """
        if self._folder.is_symlink():  # what lies behind it is not ours to write or to remove
            self._refused = True
            LOGGER.warning(
                "Unfinished: %s is a symbolic link; the scan cannot be resumed later", self._folder
            )
            return
        try:
            if not (self._folder / _SUMS).is_file():
                _empty(self._folder)
                return
            there = json.loads((self._folder / _ABOUT).read_text("utf-8"))
            if other := self._differences(there):
                LOGGER.warning("Unfinished: %s is of a scan with %s; not used", self._folder, other)
                return
            with _opened(self._folder / _SUMS) as arrays:
                sums = dict(arrays)
            facts = json.loads(str(sums.pop("facts")))
            self._shards = [(int(start), int(stop)) for start, stop in facts.pop("shards")]
            self._token = there["token"]
            self._check(facts.pop("token"))
            with closing(self._read()) as shards:
                restore(ResumeState(self._done, sums, facts, shards))
        except Exception as error:  # a file that is damaged can fail in any way
            self._shards = []
            _empty(self._folder)
            LOGGER.warning("Unfinished: %s is damaged (%s); not used", self._folder, type(error).__name__)
            raise DamagedError from error
        self.kept = True
        LOGGER.info("Resumed: %s samples had been measured before", f"{self._done:,}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Put off an interruption (Ctrl-C, SIGTERM) until `maybe_save`, which raises it; not a second one.

        A batch that is cut short leaves sums that nobody can go on from.
        """

        def asked(number: int, frame: Any) -> None:
            if self._asked:
                raise KeyboardInterrupt
            self._asked = True

        self._asked = False
        if threading.current_thread() is not threading.main_thread():  # elsewhere Python sets no handlers
            yield
            return
        # what is ignored, as Ctrl-C is by jobs in the background of a script, stays so
        heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, asked) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """Keep the state if it is time to.

        Args:
            state: Gives it: the pass is between two batches.

        Raises:
            KeyboardInterrupt: If the user has asked to stop.
        """
        if self._asked:
            raise KeyboardInterrupt
        now = time.perf_counter()
        if now < self._next or self._refused:
            return
        found = state()
        affordable = self._begun + (self._spent + self._size(found) / self._speed) / MOST_TIME
        if now >= affordable:
            self.keep(found)
        else:
            self._next = max(now + EVERY, affordable)

    def _size(self, state: PassState) -> int:
        """Return the bytes to be written."""
        sums = sum(array.nbytes for array in state.sums.values())
        return (state.done - self._done) * state.row_bytes + sums

    @property
    def _done(self) -> int:
        return self._shards[-1][1] if self._shards else 0

    def keep(self, state: PassState) -> None:
        """Keep the state, whatever the time; what is kept already stays if that fails."""
        done = self._done
        size = self._size(state)
        if self._refused or state.done == done:
            return
        started = time.perf_counter()
        try:
            if not self.kept:
                _empty(self._folder)
                self._folder.mkdir(parents=True, exist_ok=True)
                self._token = secrets.token_hex(8)
                self._put(_ABOUT, json.dumps({**self._about, "token": self._token}, indent=1).encode())
            rows = {**state.rows(done, state.done), "token": np.array(self._token)}
            self._put(_rows(done, state.done), rows)
            shards = [*self._shards, (done, state.done)]
            facts = json.dumps({**state.facts, "shards": shards, "token": self._token})
            self._put(_SUMS, {**state.sums, "facts": np.array(facts)})
            self._shards = shards
            self.kept = True
        except OSError as error:
            self._refused = True  # and the room on the disk is left to the report
            _empty(
                self._folder, {_ABOUT, _SUMS, *(_rows(*shard) for shard in self._shards)} if self.kept else ()
            )
            LOGGER.warning(
                "Unfinished: the scan cannot be resumed later: %s: %s", self._folder, error.strerror
            )
        now = time.perf_counter()
        self._spent += now - started
        self._speed = size / max(now - started, 1e-3)
        self._next = now + EVERY

    def _differences(self, there: Mapping[str, str]) -> str:
        """Return in words what that is kept depends on and this pass does not; empty if nothing."""
        names = [name for name in self._about if there.get(name) != self._about[name]]
        return ", ".join(_HASHES.get(name, f"{_called(name)} {there.get(name)}"[:80]) for name in names)

    def _check(self, token: str) -> None:
        if token != self._token:
            raise ValueError("a file is of another scan")

    def _read(self) -> Generator[tuple[int, int, Mapping[str, NDArray[Any]]], None, None]:
        end = 0
        for start, stop in self._shards:
            if start != end or stop <= start:
                raise ValueError("a shard is missing")
            end = stop
            with _opened(self._folder / _rows(start, stop)) as arrays:
                self._check(str(arrays["token"]))
                yield start, stop, arrays

    def _put(self, name: str, content: bytes | Mapping[str, NDArray[Any]]) -> None:
        aside = self._folder / f"{name}.part"
        with aside.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez(file, **content)  # type: ignore[arg-type]  # it could name allow_pickle
        aside.replace(self._folder / name)


def cache_key(
    config: Config,
    checkpoint: str,
    data: str,
    labels: NDArray[np.int64],
    model: nn.Module,
    device: torch.device,
) -> dict[str, str]:
    """Return all that the numbers of a pass depend on, each under its name; bit for bit, so that it is much.

    Args:
        config: Settings.
        checkpoint: SHA-256 of its content.
        data: Fingerprint of the data.
        labels: Of the samples that are measured.
        model: Built and filled.
        device: Where.
    """
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else sys.platform
    settings = {key: str(getattr(config, key)) for key in (*SHAPING, "model", "batch_size", "class_memory")}
    return {
        "cohaudit": __version__,
        "torch": torch.__version__,
        "device": f"{device.type} ({machine}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": str(torch.get_num_threads()),
        "checkpoint": checkpoint,
        "data": data,
        "samples": hashlib.sha256(labels.tobytes()).hexdigest(),
        "code": code_of(config, model),
        **settings,
    }


def _called(name: str) -> str:
    return option_name(name) if name in KEYS else name


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    # numpy leaves a file open that is no archive
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


def _rows(start: int, stop: int) -> str:
    return f"rows-{start}-{stop}.npz"


def _empty(folder: Path, but: Container[str] = ()) -> None:
    """Remove the files of a pass but those named, as far as possible, and the folder if that leaves it empty.

    The file that makes the others count goes first. What is behind a symbolic link stays.
    """
    if folder.is_symlink():
        return
    with suppress(OSError):
        ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name) and path.name not in but]
        for path in sorted(ours, key=lambda path: path.name != _SUMS):
            with suppress(OSError):
                path.unlink()
        folder.rmdir()
