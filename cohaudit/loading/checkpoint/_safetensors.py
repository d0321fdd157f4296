"""Safetensors: one file, or shards with an index.json that says which tensor is in which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from cohaudit.errors import CheckpointError
from cohaudit.loading.checkpoint._checkpoint import Checkpoint, sha256_of
from cohaudit.loading.checkpoint._checks import printable
from cohaudit.loading.checkpoint._identify import identify

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
_AGAIN = "download or save it again"


def read_safetensors(path: Path) -> Checkpoint:
    """Read one safetensors file, memory-mapped.

    Args:
        path: The file.

    Returns:
        Its tensors and metadata.

    Raises:
        CheckpointError: If the file is damaged, or is one shard of several.
    """
    shard = _SHARD.fullmatch(path.name)
    if shard and int(shard[2]) > 1:
        raise CheckpointError(
            str(path),
            f"only one of the {int(shard[2])} shards of a checkpoint",
            f"name their index instead: {shard[1]}.safetensors.index.json",
        )
    tensors, metadata = _read(path)
    return Checkpoint(str(path), "safetensors", sha256_of([path]), tensors, metadata)


def read_sharded(index: Path) -> Checkpoint:
    """Read the shards that an index.json lists.

    Args:
        index: The index; its shards are in the same folder.

    Returns:
        The tensors of all shards.

    Raises:
        CheckpointError: If the index is none, names a file elsewhere, or a shard or a tensor is missing.
    """
    weight_map = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(
                str(index), f"its shard {shard.name} is missing", "put all shards beside the index"
            )
        identify(shard)
        found, notes = _read(shard)
        tensors |= {name: t for name, t in found.items() if weight_map.get(name, shard.name) == shard.name}
        metadata |= notes
    if lost := [name for name in weight_map if name not in tensors]:
        raise CheckpointError(
            str(index),
            f"{len(lost)} tensors are not in the shards it names, the first: {lost[0]}"
            f" in {weight_map[lost[0]]}",
            "download or save index and shards together: these are of different checkpoints",
        )
    words = f"safetensors, {len(shards)} shard{'s' if len(shards) > 1 else ''}"
    return Checkpoint(str(index), words, sha256_of([index, *shards]), tensors, metadata)


def _weight_map(index: Path) -> dict[str, str]:
    """Return tensor name → shard's file name."""
    try:
        content: Any = json.loads(index.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(index), f"no JSON: {printable(error)}", _AGAIN) from error
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found:
        raise CheckpointError(
            str(index),
            "JSON without a weight_map",
            "name the checkpoint, or its model.safetensors.index.json",
        )
    for name in found.values():
        _check_shard_name(name, index)
    return found


def _check_shard_name(name: object, index: Path) -> None:
    """Refuse a shard outside the index's folder, and one that is no safetensors file."""
    if not isinstance(name, str) or not name.isprintable() or name != Path(name).name or "\\" in name:
        raise CheckpointError(
            str(index),
            f"it names the shard {name!a}, which is no plain file name",
            "put the shards beside their index; do not use this file if you did not write it",
        )
    if not name.endswith(".safetensors"):
        raise CheckpointError(
            str(index),
            f"its shard {name!a} is no safetensors file",
            "save the model as safetensors: save_pretrained(…, safe_serialization=True)",
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(str(path), _damage(path, error), _AGAIN) from error


def _damage(path: Path, error: Exception) -> str:
    """Put the library's complaint into words by looking at the file's three parts."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > size - 8:
            return f"its header claims {length:,} bytes, but the file has {size:,}: cut off or damaged"
        header = stream.read(length)
    try:
        entries = json.loads(header)
        end = max(int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError):
        return f"its header is not as the format wants it: {printable(error)}"
    if end > size - 8 - length:
        return f"cut off: it has {size - 8 - length:,} of {end:,} bytes of tensors"
    return f"damaged: {printable(error)}"
