"""Reads safetensors: one file, or several shards with an index.json that maps tensors to shards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from cohaudit.errors import CheckpointError, printable
from cohaudit.loading.checkpoint._checkpoint import Checkpoint, sha256_of
from cohaudit.loading.checkpoint._identify import READ_AGAIN, identify
from cohaudit.loading.safetensors_header import check_count, check_header
from cohaudit.untrusted import is_regular, open_regular, read_bytes

_SHARD_NAME = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
"""Name of a shard: the checkpoint's name, and the number of shards."""
_LONGEST_NAME = 100
"""Characters of a shard's name to show."""


def read_safetensors(path: Path) -> Checkpoint:
    """Read one safetensors file, memory-mapped.

    Args:
        path: The file.

    Returns:
        The tensors and the metadata.

    Raises:
        CheckpointError: If the file is damaged, or is one shard of several.
    """
    shard = _SHARD_NAME.fullmatch(path.name)
    if shard and int(shard[2]) > 1:
        raise CheckpointError(
            str(path),
            f"is only one of the {int(shard[2])} shards of a checkpoint",
            f"name the index instead: {shard[1]}.safetensors.index.json",
        )
    tensors, metadata = _read(path)
    return Checkpoint(str(path), "safetensors", sha256_of([path]), tensors, metadata)


def read_sharded(index: Path) -> Checkpoint:
    """Read the shards that an index.json lists.

    Args:
        index: The index.json; its shards lie in the same folder.

    Returns:
        The tensors of all shards.

    Raises:
        CheckpointError: If the file is not an index, names a file outside its folder, or a shard or tensor is
            missing.
    """
    weight_map = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    # sorted: the hash must not depend on the order in the index
    shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    for shard in shards:
        if not is_regular(shard):
            raise CheckpointError(
                str(index),
                f"the shard {printable(shard.name, _LONGEST_NAME)} is missing",
                f"download or copy it to the folder of the index: {index.parent}",
            )
        identify(shard)  # for a clear message if git-lfs left a pointer in its place
        stored, shard_metadata = _read(shard)
        # a shard may hold a tensor that the index places in another shard: the index decides
        tensors |= {name: t for name, t in stored.items() if weight_map.get(name, shard.name) == shard.name}
        metadata |= shard_metadata
    if lost := [name for name in weight_map if name not in tensors]:
        raise CheckpointError(
            str(index),
            f"{len(lost)} tensors are not in the shards that the index names; the first is"
            f" {printable(lost[0], _LONGEST_NAME)}, missing in {weight_map[lost[0]]}",
            "download or save the index and its shards again: these belong to different checkpoints",
        )
    words = f"safetensors, {len(shards)} shard{'s' if len(shards) > 1 else ''}"
    return Checkpoint(str(index), words, sha256_of([index, *shards]), tensors, metadata)


def _weight_map(index: Path) -> dict[str, str]:
    """Return tensor name → shard's file name."""
    try:
        content: Any = json.loads(read_bytes(index, CheckpointError))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            str(index), f"is not valid JSON: {printable(str(error), 200)}", READ_AGAIN
        ) from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            str(index),
            "is not the index of a checkpoint: it has no weight_map",
            "name the checkpoint, or its model.safetensors.index.json",
        )
    for name in weight_map.values():
        _check_shard_name(name, index)
    return weight_map


def _check_shard_name(name: object, index: Path) -> None:
    """Raise an error for a shard outside the index's folder, or one that is not a safetensors file."""
    if not isinstance(name, str) or not name.isprintable() or name != Path(name).name or "\\" in name:
        raise CheckpointError(
            str(index),
            f"the name of a shard is not a plain file name: {name!a}",
            "keep the shards in the folder of the index; do not use an index of unknown origin",
        )
    if not name.endswith(".safetensors"):
        raise CheckpointError(
            str(index),
            f"the shard {name!a} is not a safetensors file",
            "save the model as safetensors: save_pretrained(…, safe_serialization=True)",
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        check_header(path, CheckpointError)
        with safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys()
            check_count(path, len(names), CheckpointError)
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    # the library hands shapes and types that torch does not have to torch, which can raise anything
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(str(path), _describe_damage(path, error), READ_AGAIN) from error


def _describe_damage(path: Path, error: Exception) -> str:
    """Say how a file is damaged, by its three parts: length of the header, header, tensors."""
    # torch writes its own call stack behind the first line
    reason = printable(str(error).partition("\n")[0], 200)
    # the library only says that the header is wrong; a user wants to know whether the download is complete
    size = path.stat().st_size
    with open_regular(path, CheckpointError) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > size - 8:
            return f"the header should have {length:,} bytes, but the file has {size:,}: truncated or damaged"
        header = stream.read(length)
    try:
        entries = json.loads(header)
        end = max(int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError):
        return f"the header is not valid: {reason}"
    if end > size - 8 - length:
        return f"truncated: {size - 8 - length:,} of {end:,} bytes of tensors are there"
    return f"damaged: {reason}"
