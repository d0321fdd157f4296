"""Other formats, and paths that are not a file: refused with the way to the weights."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import GOOD, WEIGHTS, Net, RunsCommand, assert_holds, refusal, saved, shards

from cohaudit.loading.checkpoint import load_checkpoint


def test_an_exported_program_needs_trust(tmp_path: Path) -> None:
    model = Net().fc
    torch.export.save(torch.export.export(model, (torch.ones(2, 3),)), tmp_path / "model.pt2")
    error = refusal(tmp_path / "model.pt2")
    assert "can run code" in error.found
    assert "--trust-checkpoint" in error.remedy
    checkpoint = load_checkpoint(tmp_path / "model.pt2", trust=True)
    assert_holds(checkpoint, dict(model.state_dict()))
    assert checkpoint.format == "torch.export program"


def test_a_damaged_exported_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    assert "cannot be read" in refusal(tmp_path / "model.pt2", trust=True).found


def test_torchscript_is_to_be_converted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/constants.pkl", b"")
    remedy = refusal(tmp_path / "model.pt", trust=True).remedy
    assert f"torch.jit.load({str(tmp_path / 'model.pt')!r}).state_dict()" in remedy


@pytest.mark.parametrize("name", ["", ".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_is_to_be_converted(name: str, tmp_path: Path) -> None:
    mark = tmp_path.parent / "ran"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(RunsCommand(f"touch {mark}")))
    (tmp_path / "__0_0.distcp").write_bytes(b"x")
    for trust in (False, True):
        assert "dcp_to_torch" in refusal(tmp_path / name, trust=trust).remedy
    assert not mark.exists()


def test_a_folder_lists_the_checkpoints_in_it(tmp_path: Path) -> None:
    assert "this folder has none" in refusal(tmp_path).remedy
    shards(tmp_path)
    (tmp_path / "notes.txt").touch()
    error = refusal(tmp_path)
    assert "a folder" in error.found
    assert error.remedy.startswith("name one of its files: model.safetensors.index.json, model-00001")
    assert "notes" not in error.remedy


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    error = refusal(tmp_path / "modle.safetensors")
    assert error.found == "no such file or folder"
    assert error.remedy == "did you mean model.safetensors?"
    assert refusal(tmp_path / "nowhere" / "model.pt").remedy.endswith("nowhere is not a folder")


def test_an_address_is_named_as_the_user_wrote_it() -> None:
    error = refusal(Path("s3://bucket/model.pt"))
    assert str(error).startswith("s3://bucket/model.pt: is an address")


def test_a_missing_file_suggests_checkpoints_alone(tmp_path: Path) -> None:
    for name in ("cohaudit.toml", "my_data.py", "modle.txt"):
        (tmp_path / name).touch()
    assert refusal(tmp_path / "model.pt").remedy == f"check the path: {tmp_path} has no checkpoint"
    (tmp_path / "last.ckpt").touch()
    assert refusal(tmp_path / "model.pt").remedy == "use one of last.ckpt"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch) -> None:
    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "good.safetensors").write_bytes(GOOD)
    monkeypatch.setattr(os, "open", refuse)  # the superuser may read everything
    assert refusal(tmp_path / "good.safetensors").found == "cannot be opened: Permission denied"


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300)).found
    assert "cannot be opened" in refusal(tmp_path / "a\0b").found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    assert "not a regular file" in refusal(tmp_path / "model.pt").found


def test_content_that_contradicts_the_extension(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(GOOD)
    error = refusal(tmp_path / "model.pt")
    assert "the content is a safetensors file" in error.found
    assert "rename it to model.safetensors" in error.remedy
    error = refusal(saved(tmp_path / "model.safetensors", WEIGHTS))
    assert "the content is a torch file" in error.found
    assert "rename it to model.pt" in error.remedy


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"<html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"GGUF\x03", "a GGUF file"),
        (b"hello, this is text", "neither a safetensors nor a torch file"),
        (b"PK\x03\x04 and then nothing", "truncated or damaged"),
    ],
)
def test_files_of_other_kinds(content: bytes, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert fragment in refusal(tmp_path / "model.pt").found


def test_an_archive_of_numpy_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=np.ones(3))
    assert "it holds images.npy" in refusal(tmp_path / "train.npz").found
