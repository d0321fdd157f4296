"""Opens a checkpoint of any format."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from cohaudit.loading.checkpoint._checkpoint import Checkpoint
from cohaudit.loading.checkpoint._checks import check_optimizer, check_usable
from cohaudit.loading.checkpoint._identify import Kind, identify
from cohaudit.loading.checkpoint._safetensors import read_safetensors, read_sharded
from cohaudit.loading.checkpoint._state_dicts import choose
from cohaudit.loading.checkpoint._torch_file import read_exported, read_torch, refuse_torchscript


def load_checkpoint(path: Path, *, weights: str = "", trust: bool = False) -> Checkpoint:
    """Read the weights of a checkpoint, by default without running code from it.

    Args:
        path: A .safetensors file, the index.json of a sharded checkpoint, or a file of torch.save.
        weights: Name of the state dict to read, such as ema; empty for the trained one, see `choose`.
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
    # after reading: only then the layout of the tensors is known
    check_usable(checkpoint.tensors, str(path))
    if checkpoint.optimizer:
        check_optimizer(checkpoint.optimizer, str(path))
    return checkpoint


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
