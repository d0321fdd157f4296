"""`cohaudit scan` of a checkpoint that cannot be audited: one message, and nothing written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from support.bad_scans import (
    CHECKPOINT,
    LONG,
    Make,
    arrays,
    assert_refused,
    attack,
    dangling_link,
    earlier,
    entry,
    file,
    header,
    net,
    options,
    pipe,
    truncated,
    truncated_earlier,
    truncated_torch_file,
    unreadable,
    weights,
)

CASES: dict[str, tuple[Make, list[str]]] = {
    # the checkpoint
    "missing checkpoint": (
        lambda folder: [folder / "modle.safetensors"],
        ["modle.safetensors", "no such file", "did you mean model.safetensors?"],
    ),
    "folder as checkpoint": (lambda folder: [folder], ["a folder, not a file", "model.safetensors"]),
    "truncated checkpoint": (
        truncated(CHECKPOINT),
        [CHECKPOINT, "truncated", "download the file again, or save it again"],
    ),
    "empty checkpoint": (file(CHECKPOINT, b""), [CHECKPOINT, "the file is empty", "again"]),
    "header beyond the file": (
        file(CHECKPOINT, (10**12).to_bytes(8, "little") + b'{"a":'),
        [CHECKPOINT, "the header should have 1,000,000,000,000 bytes", "again"],
    ),
    "pickle that runs a command": (attack, ["model.pt", "os", "system", "Nothing was run", "do not use"]),
    "plain pickle": (
        file("model.pt", pickle.dumps({"a": 1})),
        ["model.pt", "a plain pickle", "torch.save"],
    ),
    "random bytes as .pt": (
        file("model.pt", bytes(range(256)) * 8),
        ["model.pt", "neither a safetensors nor a torch file", "torch.save"],
    ),
    "truncated .pt": (truncated_torch_file, ["model.pt", "truncated or damaged", "again"]),
    "a pipe as checkpoint": (pipe, ["pipe.pt", "not a regular file", "copy it to a file on disk"]),
    "checkpoint with a long name": (
        lambda folder: [folder / ("x" * 300 + ".pt")],
        ["x.pt", "File name too long", "check the path"],
    ),
    "unreadable checkpoint": (unreadable(CHECKPOINT), [CHECKPOINT, "Permission denied", "permissions"]),
    "dangling link": (
        dangling_link,
        [CHECKPOINT, "a link to moved.safetensors, which does not exist", "name another"],
    ),
    "gigantic offsets": (
        header({"a": entry(0, 2**62, shape=[2**60])}),
        [CHECKPOINT, "of 4,611,686,018,427,387,904 bytes", "again"],
    ),
    "negative offsets": (header({"a": entry(-8, 0)}), [CHECKPOINT, "header", "again"]),
    "overlapping tensors": (header({"a": entry(0, 8), "b": entry(0, 8)}), [CHECKPOINT, "damaged", "again"]),
    "overlapping tensors with long names": (
        header({LONG: entry(0, 8), LONG + "y": entry(0, 8)}),
        [CHECKPOINT, "damaged", "again"],
    ),
    "escapes in a long name": (
        header({"\x1b[2J" + LONG: entry(0, 8)}),
        [CHECKPOINT, r"\x1b[2J", "get the file again"],
    ),
    # weights
    "a tensor with a long name": (
        weights(lambda tensors: tensors.update({LONG: torch.zeros(1)})),
        [CHECKPOINT, "1 unexpected", "xxx", "the checkpoint has more than the model"],
    ),
    "weights all NaN": (
        weights(lambda tensors: [t.fill_(torch.nan) for t in tensors.values()]),
        [CHECKPOINT, "8 of 8 tensors", "conv1.weight (144 NaN", "audit an earlier checkpoint"],
    ),
    "one infinite weight": (
        weights(lambda tensors: tensors["fc1.weight"][3, 4].fill_(torch.inf)),
        [CHECKPOINT, "1 of 8 tensors", "fc1.weight (0 NaN and 1 infinite of 32,768 values)"],
    ),
    "weights of integers": (
        weights(lambda tensors: tensors.update({name: t.long() for name, t in tensors.items()})),
        [
            CHECKPOINT,
            "8 of another type: conv1.weight (checkpoint int64, model float32)",
            "neither quantized",
        ],
    ),
    "one layer missing": (
        weights(lambda tensors: [tensors.pop(name) for name in ("fc2.weight", "fc2.bias")]),
        [CHECKPOINT, "2 missing, only in the model", "fc2.weight", "build the model as it was trained"],
    ),
    "other names": (
        weights(lambda tensors: [tensors.update({f"{n}2": tensors.pop(n)}) for n in list(tensors)]),
        [CHECKPOINT, "8 missing", "8 unexpected", "no name in common"],
    ),
    "other number of classes": (
        net("def build(classes=7):\n    return DigitsNet(classes=classes)\n"),
        [CHECKPOINT, "fc2.weight (checkpoint [10, 64], model [7, 64])", "number of classes in model_args"],
    ),
    "other width": (
        options("--model-arg", "width=8"),
        [CHECKPOINT, "conv1.weight (checkpoint [16, 1, 3, 3], model [8, 1, 3, 3])", "check model_args"],
    ),
    # earlier checkpoints
    "missing earlier checkpoint": (
        lambda folder: [folder / "modle.safetensors", folder / CHECKPOINT],
        ["modle.safetensors", "no such file", "did you mean model.safetensors?"],
    ),
    "checkpoint named twice": (
        options(FIXTURES / "digits" / CHECKPOINT, FIXTURES / "digits" / "." / CHECKPOINT),
        ["digits/model.safetensors: named twice", "once"],
    ),
    "link to the same checkpoint": (
        lambda folder: [
            (folder / "last.safetensors").symlink_to(CHECKPOINT) or folder / CHECKPOINT,
            folder / "last.safetensors",
        ],
        ["last.safetensors: the same file as", CHECKPOINT, "once"],
    ),
    "folder as earlier checkpoint": (
        lambda folder: [folder, folder / CHECKPOINT],
        ["digits: is a folder, not a file", "model.safetensors"],
    ),
    "truncated earlier checkpoint": (truncated_earlier, ["early.safetensors", "truncated", "again"]),
    "earlier checkpoint with NaN": (
        earlier(lambda tensors: tensors["fc1.weight"].fill_(torch.nan)),
        ["early.safetensors, an earlier checkpoint", "fc1.weight (32,768 NaN", "leave this checkpoint out"],
    ),
    "earlier checkpoint that overflows": (
        earlier(lambda tensors: [t.fill_(1e30) for t in tensors.values()]),
        ["early.safetensors, an earlier checkpoint: sample ", "its logits are not finite", "leave this"],
    ),
    "earlier checkpoint of another network": (
        earlier(lambda tensors: [tensors.update({f"{n}2": tensors.pop(n)}) for n in list(tensors)]),
        [
            "early.safetensors, an earlier checkpoint",
            "8 missing",
            "8 unexpected",
            "leave this checkpoint out",
        ],
    ),
    "earlier checkpoint of another width": (
        earlier(lambda tensors: tensors.update({"fc2.weight": torch.zeros(10, 32)})),
        ["early.safetensors, an earlier checkpoint", "fc2.weight (checkpoint [10, 32], model [10, 64])"],
    ),
    "data of another shape with an earlier checkpoint": (
        lambda folder: [
            earlier(lambda tensors: tensors["fc2.bias"].zero_())(folder)[0],
            *arrays(lambda data: data.update(images=np.zeros((100, 3, 32, 32), np.float32)))(folder),
        ],
        ["error: model: it fails on a batch", "got 3 channels", "check that the data"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_checkpoint_is_one_message_and_nothing_written(case: str, tmp_path: Path) -> None:
    make, fragments = CASES[case]
    assert_refused(make, fragments, tmp_path)
