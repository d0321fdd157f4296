"""Rank 0 of a scan by several ranks: it shares out the blocks of each pass, and measures its own part."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import EngineError, describe_error
from cohaudit.gradients import BlockReader, BlockRequest, BlockState, Source, measure_blocks
from cohaudit.pipeline.distributed.block_files import ROUNDED_DIFFERENTLY, BlockFolder, key_of
from cohaudit.pipeline.distributed.link import BEAT_SECONDS, POLL_SECONDS, Link
from cohaudit.pipeline.distributed.pass_blocks import Part, PassBlocks
from cohaudit.pipeline.distributed.tasks import Task, claimed, receive_file
from cohaudit.pipeline.resume import HOW_TO_RESUME

BLOCKS_FOLDER = ".unfinished-blocks"
"""Folder, inside the report's, of the blocks that several ranks have measured."""
LOGGER = logging.getLogger(__name__)


class Leader:
    """Has the passes of a scan measured by all ranks; see `Divided`.

    Blocks are files in a folder, so that a scan that is ended by anything goes on where it stopped, with any
    number of ranks. Where the others write to another disk, they send their files.

    Args:
        link: Connection to the other ranks.
        path: Folder of the unfinished blocks; it need not exist.
        fresh: Whether to measure all blocks again.
    """

    def __init__(self, link: Link, path: Path, fresh: bool) -> None:
        self._link = link
        self._path = path
        self._fresh = fresh
        self._tasks = 0
        self._folders: list[BlockFolder] = []

    def blocks_of(
        self, part: Part, source: Source, positions: NDArray[np.int64], key: Mapping[str, str]
    ) -> PassBlocks:
        """See `Divided.blocks_of`: every pass over the data is shared."""

        def reader(drawn: NDArray[np.int64] | None) -> BlockReader:
            return lambda request: self._blocks(request, part, positions, drawn, key)

        return PassBlocks(reader(None), reader)

    def describe(self) -> str:
        """Return where the measured blocks are stored, and their size; empty if there are none."""
        sizes = []
        for folder in self._folders:
            with suppress(OSError):
                sizes += [file.stat().st_size for file in folder.path.iterdir()]
        if not sizes:
            return ""
        saved = f"{self._path} ({max(sum(sizes) / 1e6, 0.1):,.1f} MB)"
        return f"what was measured is saved in {saved}: {HOW_TO_RESUME}"

    def remove(self) -> None:
        """Remove the blocks, once the report is written."""
        for folder in self._folders:
            folder.remove()
        with suppress(OSError):
            self._path.rmdir()

    def _blocks(
        self,
        request: BlockRequest,
        part: Part,
        positions: NDArray[np.int64],
        drawn: NDArray[np.int64] | None,
        key: Mapping[str, str],
    ) -> Iterator[BlockState]:
        """Yield the blocks of a pass, once all ranks have measured theirs.

        Raises:
            EngineError: If a sample cannot be measured, or a block cannot be read.
        """
        full_key = key_of(key, request.kind) | {"part": part}
        if drawn is not None:
            full_key["drawn"] = hashlib.sha256(drawn.tobytes()).hexdigest()
        name = part if drawn is None else f"{part}-drawn"
        folder = BlockFolder(self._path / name, full_key, len(request.steps))
        self._folders.append(folder)
        left = [block for block in range(folder.count) if self._fresh or not folder.fits(block)]
        task = Task(
            number=self._tasks,
            part=part,
            kind=request.kind,
            positions=positions,
            drawn=drawn,
            looped=sorted(request.plan.looped),
            folder=name,
            key=full_key,
            count=folder.count,
            left=left,
        )
        self._tasks += 1
        resumed = sum(request.steps.samples(block) for block in range(folder.count) if block not in left)
        if resumed:
            request.advance(resumed)
            LOGGER.info("Resumed: %s samples were measured before", f"{resumed:,}")
        self._link.tell(f"task-{task.number}", task.to_json())
        self._measure(request, task, folder)
        for block in range(folder.count):
            try:
                yield folder.read(block)
            except Exception as error:  # a damaged file can fail in any way
                found = f"cannot be read: {describe_error(error)}"
                raise EngineError(str(folder.file(block)), found, "run it again with --fresh") from error

    def _measure(self, request: BlockRequest, task: Task, folder: BlockFolder) -> None:
        """Measure blocks until all ranks are done, and fetch what lies on other disks."""
        others = _Counted(self._link, task, request.advance)

        def keep(block: int, state: BlockState) -> None:
            folder.write(block, state, self._link.launch.ranks)
            others.advance()

        measure_blocks(request, claimed(self._link, task), keep)
        for rank in range(1, self._link.launch.ranks):
            while not self._link.has(f"done-{task.number}-{rank}"):
                time.sleep(POLL_SECONDS)
                others.advance()
            self._fetch(task, folder, rank)
        others.advance(now=True)
        if len({folder.machine(block) for block in range(folder.count)}) > 1:
            LOGGER.warning("%s", ROUNDED_DIFFERENTLY)

    def _fetch(self, task: Task, folder: BlockFolder, rank: int) -> None:
        """Receive the blocks of a rank that lie on another disk."""
        # those that are not to be seen here
        away = [block for block in self._link.told(f"done-{task.number}-{rank}") if not folder.fits(block)]
        for turn, block in enumerate([*away, None]):
            self._link.tell(f"send-{task.number}-{rank}-{turn}", block)
            if block is not None:
                self._link.exchange(partial(receive_file, folder.file(block), rank))


class _Counted:
    """Advances by the samples that the other ranks have measured."""

    def __init__(self, link: Link, task: Task, advance: Callable[[int], None]) -> None:
        self._link = link
        self._key = f"samples-{task.number}"
        self._advance = advance
        self._seen = 0
        self._next = 0.0

    def advance(self, now: bool = False) -> None:
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + BEAT_SECONDS
        count = self._link.store.add(self._key, 0)
        self._advance(count - self._seen)
        self._seen = count
