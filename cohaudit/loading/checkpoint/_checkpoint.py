"""The content of a checkpoint, the same for every format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cohaudit.errors import CheckpointError
from cohaudit.untrusted import open_regular

_HASH_BLOCK_SIZE = 1 << 20
"""Bytes to read at a time for the hash."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model as read from a file, on the CPU and in the file's own dtypes."""

    path: str
    """Path as the user gave it."""
    format: str
    """Format of the file and name of the state dict, in words for the report."""
    sha256: str
    """SHA-256 of the file, in hex; for a sharded checkpoint, of its index and shards joined in name order."""
    tensors: dict[str, Tensor]
    """Name → weights. Names are as in the file, with the prefixes of wrappers."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Metadata of a safetensors header; empty for torch files."""
    optimizer: dict[str, Any] | None = None
    """State dict of the optimizer, if the file holds exactly one."""
    nested: tuple[str, ...] = ()
    """Dotted names of all state dicts in a torch file, '' for the outermost; empty for safetensors."""
    name: str = ""
    """Dotted name of this state dict, one of `nested`."""
    epoch: int | None = None
    """Epoch that the file records; None if it records none."""

    @property
    def origin(self) -> str:
        """Source of the weights, in words for the terminal: state dict, file and epoch."""
        inside = f"{self.name} of " if self.name else ""
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        others = ", ".join(other for other in self.nested if other not in {self.name, ""})
        return f"{inside}{Path(self.path).name}{epoch}{f' (also in it: {others})' if others else ''}"

    @property
    def tied(self) -> dict[str, str]:
        """Name that the file leaves out → name under which its weights are stored.

        safetensors.torch.save_model stores tensors that share memory once, and lists the other names in the
        metadata.
        """
        return {
            name: stored
            for name, stored in self.metadata.items()
            if stored in self.tensors and name not in self.tensors
        }


def sha256_of(files: Iterable[Path]) -> str:
    """Return the SHA-256 of several files joined, in hex."""
    digest = hashlib.sha256()
    for file in files:
        with open_regular(file, CheckpointError) as stream:
            # in blocks: a checkpoint can be larger than the memory
            while block := stream.read(_HASH_BLOCK_SIZE):
                digest.update(block)
    return digest.hexdigest()
