"""What the ranks of one scan tell each other, by the key-value store of torch.distributed.

Each rank shows that it lives, and watches for the end: the failure of another rank, which rank 0 reports, or
the end of rank 0. Both interrupt whatever the rank is doing. Nothing here blocks for longer than a moment, so
that a signal is always answered.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from cohaudit.config import Config
from cohaudit.errors import BAD_INPUT, ConfigError, describe_error
from cohaudit.pipeline.distributed.launch import Launch

JOIN_SECONDS = 300
"""Longest time that a rank waits for the others to start: torch may load slowly from a shared disk."""
TRANSFER_SECONDS = 86400
"""Longest time of one transfer; a rank that has died is noticed by its heartbeat."""
POLL_SECONDS = 0.02
"""Time between two looks at the store while waiting."""
BEAT_SECONDS = 0.5
"""Time between two heartbeats, and two looks for the end."""
DEAD_SECONDS = 30.0
"""A rank without a heartbeat for so long is dead: torchrun is faster, but not every launcher watches."""
FAREWELL_SECONDS = 5.0
"""Longest time that a rank waits at its end for the others to have read why."""
FAILED, END, FAREWELL = "failed", "end", "farewell"
"""Keys of the store: why a rank failed; the exit code of rank 0; how many have read either."""


@dataclass(frozen=True)
class Failure:
    """Why a rank failed.

    Attributes:
        rank: The rank.
        text: Its message.
        exit_code: Its exit code.
    """

    rank: int
    text: str
    exit_code: int


class Link:
    """The connection of one rank to the others.

    Args:
        launch: The place of this rank.

    Attributes:
        launch: The place of this rank.
        failure: Why another rank failed, once rank 0 knows.
        ended: Exit code of rank 0, once this rank knows.

    Raises:
        ConfigError: If the other ranks cannot be reached.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.failure: Failure | None = None
        self.ended: int | None = None
        self._closing = threading.Event()
        if not launch.threads_given:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // launch.local_ranks))
        limit = timedelta(seconds=JOIN_SECONDS)
        try:
            store, _, _ = next(rendezvous("env://", timeout=limit))
            self.store: Any = PrefixStore("cohaudit", store)
            # every rank is there before anything is asked of it
            self.store.add("joined", 1)
            started = time.monotonic()
            while self.store.add("joined", 0) < launch.ranks:
                if time.monotonic() - started > JOIN_SECONDS:
                    raise TimeoutError(f"only {self.store.add('joined', 0)} ranks have started")
                time.sleep(POLL_SECONDS)
            distributed.init_process_group(
                "gloo",
                store=PrefixStore("gloo", store),
                rank=launch.rank,
                world_size=launch.ranks,
                timeout=timedelta(seconds=TRANSFER_SECONDS),
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(
                f"rank {launch.rank} of {launch.ranks}",
                f"cannot reach the other ranks at {os.environ['MASTER_ADDR']}: {describe_error(error)}",
                "start all ranks by torchrun, or unset RANK and WORLD_SIZE to scan in one process",
            ) from error
        threading.Thread(target=self._watch, daemon=True).start()

    def placed(self, config: Config) -> Config:
        """Return the settings with the GPU of this rank, where the scan is to run on one."""
        if config.device not in {"auto", "cuda"} or not torch.cuda.is_available():
            return config
        return config.updated({"device": f"cuda:{self.launch.local_rank % torch.cuda.device_count()}"})

    def has(self, key: str) -> bool:
        """Return whether a rank has set a key."""
        return bool(self.store.check([key]))

    def tell(self, key: str, value: Any) -> None:
        """Set a key to a value of JSON's types."""
        self.store.set(key, json.dumps(value))

    def told(self, key: str) -> Any:
        """Return the value of a key, once a rank has set it; a signal can interrupt the waiting."""
        while not self.has(key):
            time.sleep(POLL_SECONDS)
        return json.loads(self.store.get(key))

    def exchange(self, transfer: Callable[[], None]) -> None:
        """Run a transfer between two ranks that blocks, such that a signal can interrupt the waiting.

        Raises:
            Exception: If it failed.
        """
        failed: list[BaseException] = []

        def run() -> None:
            try:
                transfer()
            except Exception as error:  # raised below, in the thread that asked
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_SECONDS)
        if failed:
            raise failed[0]

    def fail(self, text: str, exit_code: int) -> None:
        """Tell rank 0 why this rank fails, and wait until it has read it."""
        self._closing.set()
        failure = Failure(self.launch.rank, text, exit_code)
        # only the first one counts
        self.store.compare_set(FAILED, "", json.dumps(asdict(failure)))
        self._await(lambda: self.has(END))
        self.leave()

    def end(self, exit_code: int) -> None:
        """Tell all ranks that rank 0 has ended, and wait until they have read it."""
        self._closing.set()
        with suppress(Exception):  # the store may be gone
            self.tell(END, exit_code)
            # rank 0 may hold the store
            self._await(lambda: self.store.add(FAREWELL, 0) >= self.launch.ranks - 1)
            distributed.destroy_process_group()

    def leave(self) -> None:
        """Tell rank 0 that this rank needs it no longer."""
        self._closing.set()
        with suppress(Exception):  # the store may be gone
            self.store.add(FAREWELL, 1)
            distributed.destroy_process_group()

    def _await(self, happened: Callable[[], bool]) -> None:
        started = time.monotonic()
        while time.monotonic() - started < FAREWELL_SECONDS and not happened():
            time.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        """Show that this rank lives, and interrupt it when it has to end; runs in a thread of its own."""
        beats: dict[int, tuple[int, float]] = {}
        while not self._closing.wait(BEAT_SECONDS):
            try:
                self.store.add(f"beat-{self.launch.rank}", 1)
                if self.launch.rank:
                    if self.has(END):
                        self.ended = int(self.told(END))
                elif self.has(FAILED):
                    self.failure = Failure(**self.told(FAILED))
                else:
                    self.failure = self._dead(beats)
            except Exception:  # the store is gone, and rank 0 or the launcher with it
                self.ended = BAD_INPUT
            if self.failure is not None or self.ended is not None:
                if not self._closing.is_set():
                    signal.raise_signal(signal.SIGTERM)
                return

    def _dead(self, beats: dict[int, tuple[int, float]]) -> Failure | None:
        """Return why the scan ends, if a rank gives no sign of life."""
        now = time.monotonic()
        for rank in range(1, self.launch.ranks):
            count = self.store.add(f"beat-{rank}", 0)
            if rank not in beats or beats[rank][0] != count:
                beats[rank] = count, now
            elif now - beats[rank][1] > DEAD_SECONDS:
                return Failure(rank, f"gave no sign of life for {DEAD_SECONDS:.0f} s", BAD_INPUT)
        return None
