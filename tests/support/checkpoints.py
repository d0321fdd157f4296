"""Small checkpoints of every format, and how a test reads or refuses them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from cohaudit.errors import BAD_INPUT, CheckpointError
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


OTHER = {name: value + 1 for name, value in WEIGHTS.items()}


SGD = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


class RunsCommand:
    """Unpickling it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def refusal(path: Path, **options: object) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, **options)
    assert caught.value.exit_code == BAD_INPUT
    return caught.value


def saved(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def assert_holds(checkpoint: Checkpoint, weights: dict[str, torch.Tensor]) -> None:
    assert checkpoint.tensors.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(checkpoint.tensors[name], value)
        assert checkpoint.tensors[name].dtype == value.dtype


GOOD = save(WEIGHTS)
"""A safetensors file."""


def shards(folder: Path, **changes: object) -> Path:
    """Write two shards and their index; `changes` replace keys of the index."""
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({"fc.weight": WEIGHTS["fc.weight"]}, folder / first)
    save_file({"fc.bias": WEIGHTS["fc.bias"]}, folder / second)
    index = folder / "model.safetensors.index.json"
    content = {"metadata": {"total_size": 32}, "weight_map": {"fc.weight": first, "fc.bias": second}}
    index.write_text(json.dumps(content | changes))
    return index


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
