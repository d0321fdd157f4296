"""Shards that were measured apart, read as one pass; what is missing or of another scan is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import ReportError
from cohaudit.gradients import BlockReader, BlockRequest, BlockState, Source
from cohaudit.pipeline.distributed.block_files import ROUNDED_DIFFERENTLY, SUFFIX, BlockFolder, key_of
from cohaudit.pipeline.distributed.pass_blocks import Part, PassBlocks
from cohaudit.pipeline.distributed.shard import Shard

NAMED_FILES = 4
"""Files named at most in an error message."""


@dataclass(frozen=True)
class MergedShards:
    """The folder that shards were written to, to be read as one pass.

    Attributes:
        path: The folder.
        command: Command that measures a shard, without `--shard`, for messages.
        note: Called with what the user must know.
    """

    path: Path
    command: str
    note: Callable[[str], None]

    def blocks_of(
        self, part: Part, source: Source, positions: NDArray[np.int64], key: Mapping[str, str]
    ) -> PassBlocks | None:
        """See `Divided.blocks_of`: shards hold the first pass over the training data."""
        return PassBlocks(self._reader(key)) if part == "training" else None

    def _reader(self, key: Mapping[str, str]) -> BlockReader:
        """Return what reads the blocks of a pass.

        Args:
            key: Everything that the numbers of the pass depend on.
        """

        def read(request: BlockRequest) -> Iterator[BlockState]:
            folder = BlockFolder(self.path, key_of(key, request.kind), len(request.steps))
            self._refuse_incomplete(folder)
            for block in range(folder.count):
                try:
                    state = folder.read(block)
                except Exception as error:  # a damaged file can fail in any way
                    raise self._damaged(folder, block, error) from error
                yield state
                request.advance(request.steps.samples(block))

        return read

    def _refuse_incomplete(self, folder: BlockFolder) -> None:
        """Refuse a folder that does not hold every block of this scan.

        Raises:
            ReportError: If a block is missing, damaged or of another scan; says which command makes it.
        """
        missing = []
        machines = set()
        for block in range(folder.count):
            try:
                difference = folder.difference(block)
                machines.add(None if difference is None else folder.machine(block))
            except Exception as error:  # a damaged file can fail in any way
                raise self._damaged(folder, block, error) from error
            if difference is None:
                missing.append(block)
            elif difference:
                raise ReportError(
                    str(folder.file(block)),
                    f"is from a scan with {difference}",
                    "name the checkpoint and the settings of the shards, or remove it and run: "
                    f"{self._remake(folder, [block])}",
                )
        if missing:
            raise ReportError(
                str(folder.path), self._found(folder, missing), f"run: {self._remake(folder, missing)}"
            )
        if len(machines) > 1:
            self.note(ROUNDED_DIFFERENTLY)

    def _found(self, folder: BlockFolder, missing: Sequence[int]) -> str:
        """Return in words which blocks are missing."""
        if len(missing) < folder.count:
            names = ", ".join(folder.file(block).name for block in missing[:NAMED_FILES])
            more = f" and {len(missing) - NAMED_FILES} more" if len(missing) > NAMED_FILES else ""
            return f"{len(missing)} of {folder.count} blocks are missing: {names}{more}"
        if others := sorted(path.name for path in folder.path.glob(f"block-*{SUFFIX}")):
            return (
                f"this scan has {folder.count} blocks, and none is there; {others[0]} is of other data or "
                "another --batch-size"
            )
        return f"holds none of the {folder.count} blocks" if folder.path.is_dir() else "no such folder"

    def _damaged(self, folder: BlockFolder, block: int, error: Exception) -> ReportError:
        found = f"is damaged ({type(error).__name__})"
        return ReportError(
            str(folder.file(block)), found, f"remove it and run: {self._remake(folder, [block])}"
        )

    def _remake(self, folder: BlockFolder, blocks: Sequence[int]) -> str:
        """Return the commands that measure these blocks."""
        of = folder.shards()
        if of is None:
            return f"{self.command} --shard 1/N, and so on to N/N"
        shards = [Shard(number, of) for number in range(1, of + 1)]
        wanted = [shard for shard in shards if {*shard.blocks(folder.count)} & {*blocks}]
        first, *others = (f"{self.command} --shard {shard}" for shard in wanted)
        rest = ", ".join(str(shard) for shard in wanted[1:])
        return f"{first} (and {rest})" if others else first
