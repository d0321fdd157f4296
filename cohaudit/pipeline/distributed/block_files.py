"""A folder with the blocks of one pass, a file each, written by any number of processes.

A file is written under another name and renamed, so that it is whole. It carries the key of its pass, and so
is never taken for one of another scan. The numbers of a block do not depend on who measured it: processes may
share the blocks in any way, and a block that is measured twice has the same bits. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import ReportError
from cohaudit.gradients import BlockState, PassKind
from cohaudit.pipeline.resume_files import describe_difference, opened_arrays

ROW, SUM = "row-", "sum-"
"""What the names of arrays in a file begin with: those with a row per sample, and parts of sums."""
MACHINE_PARTS = frozenset({"device", "threads"})
"""Parts of a key that change the order of additions within a batch, and with it the last digits."""
ROUNDED_DIFFERENTLY = (
    "the parts of the scan were measured on machines, or with numbers of threads, that round differently: "
    "the last digits can differ from those of one process"
)
"""Said where blocks come from machines whose `MACHINE_PARTS` differ."""
SUFFIX = ".npz"
"""Suffix of a block's file."""


@dataclass(frozen=True)
class BlockFolder:
    """The blocks of one pass.

    Attributes:
        path: The folder; it need not exist.
        key: Everything that the numbers depend on; see `cache_key`.
        count: Number of blocks.
    """

    path: Path
    key: Mapping[str, str]
    count: int

    def file(self, block: int) -> Path:
        """Return the path of a block's file."""
        width = len(str(self.count))
        return self.path / f"block-{block + 1:0{width}}-of-{self.count}{SUFFIX}"

    def difference(self, block: int) -> str | None:
        """Return in words how the pass that a file belongs to differs from this one; empty if it does not.

        Differences between machines do not count; see `machines`.

        Args:
            block: Number of the block.

        Returns:
            None if there is no file.

        Raises:
            Exception: If it is damaged, in any way that a damaged file can fail.
        """
        if not self.file(block).is_file():
            return None
        with opened_arrays(self.file(block)) as arrays:
            found = json.loads(str(arrays["about"]))["key"]
        names = [n for n in {*self.key, *found} - MACHINE_PARTS if found.get(n) != self.key.get(n)]
        return ", ".join(describe_difference(name, found.get(name)) for name in sorted(names))

    def fits(self, block: int) -> bool:
        """Return whether there is a whole file of this pass, whoever measured it."""
        try:
            return self.difference(block) == ""
        except Exception:  # a damaged file can fail in any way
            return False

    def has(self, block: int) -> bool:
        """Return whether a block was measured, on a machine like this one."""
        try:
            own = tuple(self.key[name] for name in sorted(MACHINE_PARTS))
            return self.fits(block) and self.machine(block) == own
        except Exception:  # a damaged file can fail in any way; it is written again
            return False

    def write(self, block: int, state: BlockState, shards: int) -> None:
        """Write a block, whole or not at all.

        Args:
            block: Number of the block.
            state: What was measured.
            shards: Number of shards that the user shares the pass among; `merge` names one that is missing.

        Raises:
            ReportError: If it cannot be written.
        """
        about = {"key": dict(self.key), "shards": shards, "metadata": state.metadata}
        arrays: dict[str, NDArray[Any]] = {"about": np.array(json.dumps(about))}
        arrays |= {f"{ROW}{name}": array for name, array in state.rows.items()}
        arrays |= {f"{SUM}{name}": array for name, array in state.sums.items()}
        target = self.file(block)
        # the process in its name: two may write the same block
        aside = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # it could name allow_pickle
            aside.replace(target)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            found = f"cannot be written: {error.strerror}"
            raise ReportError(str(target), found, "free space, or name another folder: --out") from error

    def read(self, block: int) -> BlockState:
        """Return a block.

        Raises:
            Exception: If it is damaged, in any way that a damaged file can fail.
        """
        with opened_arrays(self.file(block)) as arrays:
            metadata = json.loads(str(arrays["about"]))["metadata"]
            rows, sums = (
                {n.removeprefix(prefix): arrays[n] for n in arrays if n.startswith(prefix)}
                for prefix in (ROW, SUM)
            )
        return BlockState(rows, sums, metadata)

    def machine(self, block: int) -> tuple[str, ...]:
        """Return what rounds differently on another machine, of the one that measured a block.

        Raises:
            Exception: If the file is missing or damaged.
        """
        with opened_arrays(self.file(block)) as arrays:
            found = json.loads(str(arrays["about"]))["key"]
        return tuple(str(found.get(name)) for name in sorted(MACHINE_PARTS))

    def shards(self) -> int | None:
        """Return among how many shards the pass was shared; None if no file tells."""
        for block in range(self.count):
            with suppress(Exception), opened_arrays(self.file(block)) as arrays:
                return int(json.loads(str(arrays["about"]))["shards"])
        return None

    def remove(self) -> None:
        """Remove the files of this pass, and the folder if that leaves it empty."""
        with suppress(OSError):
            for block in range(self.count):
                self.file(block).unlink(missing_ok=True)
            self.path.rmdir()


def key_of(key: Mapping[str, str], kind: PassKind) -> dict[str, str]:
    """Return the key of a pass of one kind; see `cache_key`."""
    return {**key, "pass": kind}
