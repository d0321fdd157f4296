"""What rank 0 asks the other ranks to measure, and how ranks share the blocks of a pass."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from cohaudit.gradients import PassKind
from cohaudit.pipeline.distributed.block_files import BlockFolder
from cohaudit.pipeline.distributed.link import Link
from cohaudit.pipeline.distributed.pass_blocks import Part

Integers = NDArray[np.int64]
CHUNK_BYTES = 2**26
"""Bytes sent at a time: a file of a large block need not fit into memory twice."""


@dataclass(frozen=True)
class Task:
    """A pass whose blocks are shared among the ranks.

    Attributes:
        number: Number of the task, from 0.
        part: The data.
        kind: What is measured.
        positions: Position of each sample in the data.
        drawn: Indices of the samples to measure, out of these; None for all.
        looped: Parameters that are measured by the loop.
        folder: Name of the folder of the blocks, inside that of all unfinished ones.
        key: Everything that the numbers depend on.
        count: Number of blocks.
        left: Blocks that are not measured yet.
    """

    number: int
    part: Part
    kind: PassKind
    positions: Integers
    drawn: Integers | None
    looped: Sequence[str]
    folder: str
    key: Mapping[str, str]
    count: int
    left: Sequence[int]

    def to_json(self) -> dict[str, Any]:
        """Return the task in JSON's types."""
        drawn = None if self.drawn is None else _text(self.drawn)
        return {**vars(self), "positions": _text(self.positions), "drawn": drawn}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Task:
        """Return the task from JSON's types."""
        drawn = None if content["drawn"] is None else _integers(content["drawn"])
        return cls(**{**content, "positions": _integers(content["positions"]), "drawn": drawn})

    def blocks_in(self, path: Path, machine: Mapping[str, str]) -> BlockFolder:
        """Return the folder of the task's blocks.

        Args:
            path: Folder of all unfinished blocks.
            machine: Parts of the key that are those of the rank's machine.
        """
        return BlockFolder(path / self.folder, {**self.key, **machine}, self.count)


def claimed(link: Link, task: Task) -> Iterator[int]:
    """Yield blocks of a task that no other rank has taken: a rank that is faster takes more."""
    while (turn := link.store.add(f"claimed-{task.number}", 1)) <= len(task.left):
        yield task.left[turn - 1]


def send_file(path: Path, to: int) -> None:
    """Send a file to another rank."""
    size = path.stat().st_size
    distributed.send(torch.tensor([size]), to)
    with path.open("rb") as file:
        while content := file.read(CHUNK_BYTES):
            distributed.send(torch.frombuffer(bytearray(content), dtype=torch.uint8), to)


def receive_file(path: Path, source: int) -> None:
    """Receive a file that another rank sends; it is written whole or not at all."""
    size = torch.zeros(1, dtype=torch.int64)
    distributed.recv(size, source)
    aside = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside.open("wb") as file:
        for start in range(0, int(size), CHUNK_BYTES):
            content = torch.empty(min(CHUNK_BYTES, int(size) - start), dtype=torch.uint8)
            distributed.recv(content, source)
            file.write(content.numpy().data)
    aside.replace(path)


def _text(numbers: Integers) -> str:
    return base64.b64encode(numbers.astype("<i8").tobytes()).decode("ascii")


def _integers(text: str) -> Integers:
    return np.frombuffer(base64.b64decode(text), dtype="<i8").astype(np.int64)
