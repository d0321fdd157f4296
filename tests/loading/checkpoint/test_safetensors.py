"""Safetensors files: what is read from good ones, and how damaged ones are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from support.checkpoints import GOOD, WEIGHTS, assert_holds, refusal
from torch import nn

from cohaudit.loading.checkpoint import load_checkpoint


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    half = {"a": torch.ones(2, 2, dtype=torch.float16), "b": torch.ones((), dtype=torch.bfloat16)}
    save_file(WEIGHTS | half, path, {"trained": "yes"})
    checkpoint = load_checkpoint(path)
    assert_holds(checkpoint, WEIGHTS | half)
    assert checkpoint.format == "safetensors"
    assert checkpoint.metadata == {"trained": "yes"}
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.path, checkpoint.optimizer, checkpoint.nested) == (str(path), None, ())


def test_a_safetensors_file_without_extension_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(GOOD)
    assert_holds(load_checkpoint(tmp_path / "weights"), WEIGHTS)


def test_names_that_save_model_drops_are_noted_as_tied(tmp_path: Path) -> None:
    model = nn.ModuleDict({"inside": nn.Linear(2, 2), "outside": nn.Linear(2, 2)})
    model["outside"].weight = model["inside"].weight
    save_model(model, str(tmp_path / "tied.safetensors"))
    checkpoint = load_checkpoint(tmp_path / "tied.safetensors")
    assert len(checkpoint.tensors) == 3
    assert checkpoint.tied in ({"outside.weight": "inside.weight"}, {"inside.weight": "outside.weight"})


def test_weights_of_a_safetensors_file_need_no_choice(tmp_path: Path) -> None:
    (tmp_path / "good.safetensors").write_bytes(GOOD)
    assert "leave out --weights" in refusal(tmp_path / "good.safetensors", weights="ema").remedy


def header(entries: object) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


DAMAGED = {
    "zero-length": (lambda good: b"", "the file is empty"),
    "five bytes": (lambda good: good[:5], "does not start with a safetensors header"),
    "cut in the header": (lambda good: good[:30], "but the file has 30: truncated"),
    "cut in the tensors": (lambda good: good[:-4], "truncated: 28 of 32 bytes of tensors"),
    "bytes left over": (lambda good: good + b"1234", "not fully covered"),
    "header beyond the file": (
        lambda good: (10**12).to_bytes(8, "little") + good[8:],
        "the header should have 1,000,000,000,000 bytes",
    ),
    "header of no JSON": (lambda good: header(b"{not json!}"), "the header is not valid"),
    "header of a list": (lambda good: header(b"[1, 2]"), "does not start with a safetensors header"),
    "header of numbers": (lambda good: header({"a": 1}), "the header is not valid"),
    "deep header": (lambda good: header(b'{"a":' + b"[" * 5000), "the header is not valid"),
    "offset of letters": (
        lambda good: header({"a": ENTRY | {"data_offsets": [0, "x"]}}),
        "the header is not valid",
    ),
    "infinite offset": (
        lambda good: header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e999]}}'),
        "the header is not valid",
    ),
    "escape in a dtype": (lambda good: header({"a": ENTRY | {"dtype": "\x1b[2J"}}) + bytes(8), r"\x1b[2J"),
    "unknown dtype": (lambda good: header({"a": ENTRY | {"dtype": "Q7"}}) + bytes(8), "Q7"),
    "shape of another size": (lambda good: header({"a": ENTRY | {"shape": [3]}}) + bytes(8), "damaged"),
    "overlap": (lambda good: header({"a": ENTRY, "b": ENTRY}) + bytes(8), "damaged"),
    "offsets beyond": (
        lambda good: header({"a": ENTRY | {"shape": [2**40], "data_offsets": [0, 2**42]}}) + bytes(8),
        "truncated: 8 of",
    ),
    "web page": (lambda good: b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
    "git-lfs": (
        lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        "a git-lfs pointer",
    ),
    "random": (lambda good: bytes(range(200)), "does not start with a safetensors header"),
    "no tensors": (lambda good: header({}), "holds no tensors"),
    "escape in a name": (
        lambda good: header({"\x1b[2Jfc": ENTRY}) + bytes(8),
        r"cannot be printed: '\x1b[2Jfc'",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_safetensors_file_says_how(case: str, tmp_path: Path) -> None:
    damage, fragment = DAMAGED[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(GOOD))
    error = refusal(path)
    assert fragment in error.found
    assert error.where == str(path)
    assert error.found.isprintable()


def test_a_git_lfs_pointer_is_to_be_pulled(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(tmp_path / "model.pt").remedy
