"""Opens a checkpoint of any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from cohaudit.errors import CheckpointError, printable
from cohaudit.loading.checkpoint._checkpoint import Checkpoint
from cohaudit.loading.checkpoint._checks import check_optimizer, check_usable
from cohaudit.loading.checkpoint._identify import Kind, identify
from cohaudit.loading.checkpoint._safetensors import read_safetensors, read_sharded
from cohaudit.loading.checkpoint._state_dicts import choose
from cohaudit.loading.checkpoint._torch_file import read_exported, read_torch, refuse_torchscript
from cohaudit.loading.extra_tensors import without_named

_MAX_STARTS = 8
"""First parts of names to list in a message."""


def load_checkpoint(
    path: Path, *, weights: str = "", prefix: str = "", ignored: Sequence[str] = (), trust: bool = False
) -> Checkpoint:
    """Read the weights of a checkpoint, by default without running code from it.

    Args:
        path: A .safetensors file, the index.json of a sharded checkpoint, or a file of torch.save.
        weights: Name of the state dict to read, such as ema; empty for the trained one, see `choose`.
        prefix: Start of the names of the network's weights, which is removed; the others are left out.
        ignored: Patterns of names to leave out.
        trust: Whether to open formats that can run code from the file.

    Returns:
        The tensors by name, on the CPU, memory-mapped if the format allows it.

    Raises:
        CheckpointError: If the file cannot be read, would run code, or holds no usable tensors.
    """
    kind = identify(path)
    if weights and kind in {"safetensors", "index", "export"}:
        choose([""], weights, str(path))  # raises: these formats hold one state dict, without a name
    checkpoint = _read(path, kind, weights, trust)
    checkpoint = _selected(checkpoint, prefix, ignored)
    # after reading: only then the layout of the tensors is known
    check_usable(checkpoint.tensors, str(path))
    if checkpoint.optimizer:
        check_optimizer(checkpoint.optimizer, str(path))
    return checkpoint


def _selected(checkpoint: Checkpoint, prefix: str, ignored: Sequence[str]) -> Checkpoint:
    """Return a checkpoint without the tensors that the user calls no part of the network.

    Raises:
        CheckpointError: If no tensor is left.
    """
    if not prefix and not ignored:
        return checkpoint
    kept = without_named(checkpoint.tensors, prefix, ignored)
    if not kept:
        starts = dict.fromkeys(printable(name.partition(".")[0], 40) for name in checkpoint.tensors)
        asked = (
            f"begins with --prefix {prefix}" if prefix else f"is left by --ignore-keys {' '.join(ignored)}"
        )
        raise CheckpointError(
            checkpoint.path,
            f"no name of a weight {asked}",
            f"its names begin with {', '.join(list(starts)[:_MAX_STARTS])}",
        )
    return replace(checkpoint, tensors=kept)


def _read(path: Path, kind: Kind, weights: str, trust: bool) -> Checkpoint:
    match kind:
        case "safetensors":
            return read_safetensors(path)
        case "index":
            return read_sharded(path)
        case "torch" | "torch legacy":
            return read_torch(path, weights=weights, trust=trust, legacy=kind == "torch legacy")
        case "export":
            return read_exported(path, trust=trust)
        case "torchscript":
            raise refuse_torchscript(path)
        case _:
            assert_never(kind)
