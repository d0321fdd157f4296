"""Stores an unfinished pass over the data in files, so that an interrupted scan continues where it stopped.

A folder holds one pass:

- `about.json`: the key, everything that the numbers of the pass depend on;
- `rows-FROM-TO.npz`: the samples measured since the file before;
- `sums.npz`: the sums over all samples so far. It is written last and lists the rows that count.

Each file is written under another name and renamed, so that every file is whole whenever the process ends.
All files of a pass carry the same random token, so that files of two scans in one folder are never mixed.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import Interrupted, ReportError
from cohaudit.gradients import CheckpointStore, DamagedError, NullStore, PassState, ResumeState
from cohaudit.pipeline.resume_files import (
    ABOUT,
    SUMS,
    describe_difference,
    opened_arrays,
    remove_pass,
    rows_file,
)

RESUME_FOLDER = ".unfinished"
"""Folder, inside the report's, of a pass that is not finished."""
SAVE_INTERVAL_SECONDS = 30.0
"""Shortest time between two saves."""
MAX_SAVE_SHARE = 0.02
"""Largest share of the time that is spent on saving. A pass that is quick for its size is not saved at all:
writing it would take longer than measuring it again."""
FIRST_DISK_SPEED = 1e8
"""Bytes per second that a disk is assumed to write, until the first save has shown it."""
HOW_TO_RESUME = "run the same command to continue"
"""Said to a user who interrupts a scan, once something is saved."""
LOGGER = logging.getLogger(__name__)


class ResumableRun:
    """The folder in which one scan stores its passes, one after the other.

    Args:
        folder: Folder to use; it need not exist. None stores nothing.
        fresh: Whether to start over, whatever the folder holds.
        what: What is said to be resumed, after a number.
    """

    def __init__(self, folder: Path | None, fresh: bool = False, what: str = "samples were measured") -> None:
        self._folder = folder
        self._fresh = fresh
        self._fresh_for_all = fresh
        self._what = what
        self._store: PassStore | None = None
        self._lasting: dict[str, ResumableRun] = {}

    def store(self, key: Mapping[str, str]) -> CheckpointStore:
        """Return the store for the next pass; what the pass before it stored is removed.

        Args:
            key: Everything that the numbers of the pass depend on; see `cache_key`.

        Raises:
            ReportError: If the scan should start over, and the folder cannot be removed.
        """
        self._remove_pass()
        if self._folder is None:
            return NullStore()
        if self._fresh:
            remove_pass(self._folder)
            if os.path.lexists(self._folder):
                found = "is not a folder of an interrupted scan alone, or may not be removed"
                raise ReportError(f"--fresh {self._folder}", found, "remove it, or name another --out")
            self._fresh = False  # only the first pass starts over: the next ones are of this scan
        self._store = PassStore(self._folder, key, self._what)
        return self._store

    def lasting(self, name: str, what: str) -> ResumableRun:
        """Return a folder beside this one for work that is kept until the scan is done, whatever comes next.

        Args:
            name: Name of the work; the end of the folder's name.
            what: What is said to be resumed, after a number.
        """
        if name not in self._lasting:
            beside = self._folder and self._folder.with_name(f"{self._folder.name}-{name}")
            self._lasting[name] = ResumableRun(beside, self._fresh_for_all, what)
        return self._lasting[name]

    def describe(self) -> str:
        """Return where the unfinished work is stored, and its size; empty if nothing is stored."""
        sizes = {one: size for one in (self, *self._lasting.values()) if (size := one._size()) is not None}
        if not sizes:
            return ""
        folders = " and ".join(str(one._folder) for one in sizes)
        megabytes = max(sum(sizes.values()) / 1e6, 0.1)
        return f"what was measured is saved in {folders} ({megabytes:,.1f} MB): {HOW_TO_RESUME}"

    def remove(self) -> None:
        """Remove what this scan stored, once it is no longer needed; files of another scan stay."""
        for one in (self, *self._lasting.values()):
            one._remove_pass()

    def _size(self) -> int | None:
        """Return the bytes that are stored of the pass; None if nothing is."""
        if self._folder is None or self._store is None or not self._store.saved:
            return None
        try:
            return sum(path.stat().st_size for path in self._folder.iterdir())
        except OSError:  # somebody removed the folder in the meantime
            return None

    def _remove_pass(self) -> None:
        if self._folder and self._store and self._store.saved:
            remove_pass(self._folder)
        self._store = None


@dataclass(frozen=True)
class _Manifest:
    """What `sums.npz` says beside the sums.

    Attributes:
        token: Token of the pass.
        shards: First and last + 1 sample of each file of rows that counts, in order.
        metadata: `metadata` of `PassState`.
    """

    token: str
    shards: tuple[tuple[int, int], ...]
    metadata: Mapping[str, Any]

    def encoded(self) -> NDArray[Any]:
        """Return the manifest as an array that `sums.npz` can hold."""
        # as text: numpy could store the dictionary itself only as a pickle
        return np.array(json.dumps(asdict(self)))

    @classmethod
    def decoded(cls, text: NDArray[Any]) -> _Manifest:
        """Return the manifest that `encoded` wrote.

        Raises:
            KeyError: If an entry is missing.
            ValueError: If it is not JSON, or a shard is missing.
        """
        content = json.loads(str(text))
        shards = tuple((int(start), int(stop)) for start, stop in content["shards"])
        ends = (0, *(stop for _, stop in shards))
        # one end more than shards: the last one has no shard after it
        if any(start != end or stop <= start for end, (start, stop) in zip(ends, shards, strict=False)):
            raise ValueError("a shard is missing")
        return cls(str(content["token"]), shards, content["metadata"])


class PassStore:
    """Stores one pass; see `gradients.CheckpointStore`.

    Args:
        folder: Folder to use; it need not exist.
        key: Everything that the numbers of the pass depend on.
        what: What is said to be resumed, after a number.

    Attributes:
        saved: Whether the files in the folder are of this pass.
    """

    def __init__(self, folder: Path, key: Mapping[str, str], what: str = "samples were measured") -> None:
        self._folder = folder
        self._key = dict(key)
        self._what = what
        self._token = ""
        self._shards: tuple[tuple[int, int], ...] = ()
        self._disabled = False
        self._stop_requested = False
        self._budget = _SaveBudget()
        self.saved = False

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """Restore the pass from the folder, if it holds one with this key; damaged files are removed.

        Args:
            restore: Called with the stored state.

        Raises:
            DamagedError: If the files cannot be used; `restore` may have used some of them.
        """
        if self._folder.is_symlink():  # the files behind it are not ours to write or to remove
            self._disabled = True
            LOGGER.warning("Cannot resume: %s is a symbolic link, so nothing is saved in it", self._folder)
            return
        try:
            # rows without sums: the process ended before its first save was complete
            if not (self._folder / SUMS).is_file():
                remove_pass(self._folder)
                return
            about = json.loads((self._folder / ABOUT).read_text("utf-8"))
            if difference := self._difference(about):
                LOGGER.warning("Cannot resume: %s is from a scan with %s; not used", self._folder, difference)
                # not removed: it is replaced only when this scan has something to store
                return
            self._restore(about["token"], restore)
        except Exception as error:  # a damaged file can fail in any way
            # the pass starts over, and its next save must not list rows that are gone
            self._shards = ()
            remove_pass(self._folder)
            LOGGER.warning("Cannot resume: %s is damaged (%s); not used", self._folder, type(error).__name__)
            raise DamagedError from error
        self.saved = True
        LOGGER.info("Resumed: %s %s before", f"{self._done:,}", self._what)

    def _restore(self, token: str, restore: Callable[[ResumeState], None]) -> None:
        with opened_arrays(self._folder / SUMS) as arrays:
            # reads every array now: the file is closed before they are used
            sums = dict(arrays)
        manifest = _Manifest.decoded(sums.pop("manifest"))
        self._token = token
        self._check_token(manifest.token)
        self._shards = manifest.shards
        with closing(self._read_rows()) as shards:
            restore(ResumeState(self._done, sums, manifest.metadata, shards))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Postpone the first interruption (Ctrl-C, SIGTERM) until `maybe_save`, which raises it.

        A batch that is cut short leaves sums that no pass can continue from. A second interruption is raised
        at once: the user does not want to wait for the batch.
        """

        def handle(number: int, frame: Any) -> None:
            if self._stop_requested:  # the second one
                raise Interrupted
            self._stop_requested = True

        self._stop_requested = False
        if threading.current_thread() is not threading.main_thread():  # Python sets handlers only there
            yield
            return
        # a signal that is ignored, as Ctrl-C is by background jobs of a script, stays ignored
        handled = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, handle) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """Save the state if it is time to.

        Args:
            state: Returns it; called between two batches only.

        Raises:
            Interrupted: If the user has asked to stop.
        """
        # before the budget is asked: the pass saves itself when this reaches it, due or not
        if self._stop_requested:
            raise Interrupted
        if self._disabled or not self._budget.is_time():
            return
        found = state()
        if self._budget.allows(self._size(found)):
            self.keep(found)

    def keep(self, state: PassState) -> None:
        """Save the state now; what was saved before stays valid if that fails.

        Args:
            state: The pass between two batches.
        """
        if self._disabled or state.done == self._done:
            return
        size = self._size(state)
        with self._budget.spending(size):
            try:
                self._save(state)
            except OSError as error:
                self._give_up(error)

    def _save(self, state: PassState) -> None:
        if not self.saved:
            remove_pass(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            # new for each pass: after a crash, older files in the folder could have names that fit
            self._token = secrets.token_hex(8)
            self._write(ABOUT, json.dumps({**self._key, "token": self._token}, indent=1).encode())
        shard = (self._done, state.done)
        self._write(rows_file(*shard), {**state.rows(*shard), "token": np.array(self._token)})
        manifest = _Manifest(self._token, (*self._shards, shard), state.metadata)
        # last: until it is there, the rows just written do not count
        self._write(SUMS, {**state.sums, "manifest": manifest.encoded()})
        self._shards = manifest.shards
        self.saved = True

    def _give_up(self, error: OSError) -> None:
        """Store nothing more, and leave the room on the disk to the report."""
        self._disabled = True
        # what the last complete save consists of; without one, everything goes
        valid = {ABOUT, SUMS, *(rows_file(*shard) for shard in self._shards)} if self.saved else set()
        remove_pass(self._folder, but=valid)
        LOGGER.warning(
            "Cannot resume: the state of the scan cannot be saved: %s: %s", self._folder, error.strerror
        )

    def _size(self, state: PassState) -> int:
        """Return the bytes that saving the state would write."""
        sums = sum(array.nbytes for array in state.sums.values())
        return (state.done - self._done) * state.row_bytes + sums

    @property
    def _done(self) -> int:
        """Samples whose rows are saved."""
        return self._shards[-1][1] if self._shards else 0

    def _difference(self, about: Mapping[str, str]) -> str:
        """Return in words how the stored pass differs from this one; empty if it does not."""
        names = [name for name in self._key if about.get(name) != self._key[name]]
        return ", ".join(describe_difference(name, about.get(name)) for name in names)

    def _check_token(self, token: str) -> None:
        if token != self._token:
            raise ValueError("a file is from another scan")

    def _read_rows(self) -> Generator[tuple[int, int, Mapping[str, NDArray[Any]]], None, None]:
        for start, stop in self._shards:
            with opened_arrays(self._folder / rows_file(start, stop)) as arrays:
                self._check_token(str(arrays["token"]))
                yield start, stop, arrays

    def _write(self, name: str, content: bytes | Mapping[str, NDArray[Any]]) -> None:
        """Write a file whole or not at all."""
        aside = self._folder / f"{name}.part"
        with aside.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez(file, **content)  # type: ignore[arg-type]  # it could name allow_pickle
        aside.replace(self._folder / name)


class _SaveBudget:
    """Decides when a pass is saved, so that saving takes at most `MAX_SAVE_SHARE` of the time."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._next = self._begun + SAVE_INTERVAL_SECONDS
        self._spent = 0.0
        self._speed = FIRST_DISK_SPEED

    def is_time(self) -> bool:
        """Return whether the next save is due."""
        return time.perf_counter() >= self._next

    def allows(self, size: int) -> bool:
        """Return whether a save of `size` bytes fits the budget; if not, the next is due when it will."""
        now = time.perf_counter()
        affordable = self._begun + (self._spent + size / self._speed) / MAX_SAVE_SHARE
        if now < affordable:
            self._next = max(now + SAVE_INTERVAL_SECONDS, affordable)
        return now >= affordable

    @contextmanager
    def spending(self, size: int) -> Iterator[None]:
        """Time a save of `size` bytes, and learn the speed of the disk from it."""
        started = time.perf_counter()
        yield
        now = time.perf_counter()
        self._spent += now - started
        self._speed = size / max(now - started, 1e-3)  # a save of no time would make the disk infinitely fast
        self._next = now + SAVE_INTERVAL_SECONDS
