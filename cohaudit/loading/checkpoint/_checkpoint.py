"""What a checkpoint holds, whatever its format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model as read from a file, on the CPU and in the file's own dtypes."""

    path: str
    """Path as given."""
    format: str
    """Format of the file and which of its state dicts this is, in words for the report."""
    sha256: str
    """Hash of the file's content; of a sharded one: of the index and its shards, by name, joined."""
    tensors: dict[str, Tensor]
    """Name → weights, as written: prefixes of wrappers are still on."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What a safetensors header says beside the tensors; empty for torch files."""
    optimizer: dict[str, Any] | None = None
    """State of the optimizer, when the file holds that of exactly one."""
    nested: tuple[str, ...] = ()
    """Dotted names of all state dicts inside a torch file, '' for the outermost; empty for safetensors."""
    name: str = ""
    """Which of them this is."""
    epoch: int | None = None
    """The epoch that the file says it is of."""

    @property
    def origin(self) -> str:
        """Where the weights come from, in words for the terminal."""
        inside = f"{self.name} of " if self.name else ""
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        others = ", ".join(other for other in self.nested if other not in {self.name, ""})
        return f"{inside}{Path(self.path).name}{epoch}{f' (also in it: {others})' if others else ''}"

    @property
    def tied(self) -> dict[str, str]:
        """Name that was left out of the file → the name its weights are stored under.

        safetensors.torch.save_model keeps one of the names that share memory and notes the others.
        """
        return {
            dropped: kept
            for dropped, kept in self.metadata.items()
            if kept in self.tensors and dropped not in self.tensors
        }


def sha256_of(files: Iterable[Path]) -> str:
    """Return the SHA-256 of files, one after the other, as hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
