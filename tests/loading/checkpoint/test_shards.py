"""Sharded checkpoints: an index.json and the safetensors files that it names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.torch import save_file
from support.checkpoints import WEIGHTS, assert_holds, refusal, shards

from cohaudit.loading.checkpoint import load_checkpoint


def test_shards(tmp_path: Path) -> None:
    index = shards(tmp_path)
    checkpoint = load_checkpoint(index)
    assert_holds(checkpoint, WEIGHTS)
    assert checkpoint.format == "safetensors, 2 shards"
    parts = [index, *sorted(tmp_path.glob("*-of-*"))]
    assert checkpoint.sha256 == hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def test_one_shard_alone_points_to_the_index(tmp_path: Path) -> None:
    shards(tmp_path)
    error = refusal(tmp_path / "model-00002-of-00002.safetensors")
    assert "one of the 2 shards" in error.found
    assert "model.safetensors.index.json" in error.remedy


def test_a_missing_shard(tmp_path: Path) -> None:
    index = shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "the shard model-00002-of-00002.safetensors is missing" in refusal(index).found


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    index = shards(tmp_path)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    error = refusal(index)
    assert error.where == str(shard)
    assert "truncated" in error.found


def test_shards_that_git_lfs_did_not_bring(tmp_path: Path) -> None:
    index = shards(tmp_path)
    shard = tmp_path / "model-00001-of-00002.safetensors"
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    error = refusal(index)
    assert error.where == str(shard)
    assert "git lfs pull" in error.remedy


def test_a_tensor_that_is_not_in_its_shard(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = shards(tmp_path, weight_map={"fc.weight": second, "fc.bias": second, "gone": first})
    assert (
        "2 tensors are not in the shards that the index names; the first is fc.weight" in refusal(index).found
    )


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "..\\x.safetensors",
        7,
        "\x1b.safetensors",
    ],
)
def test_a_shard_elsewhere_is_refused(name: object, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    index = shards(tmp_path / "inside", weight_map={"fc.weight": name})
    assert "not a plain file name" in refusal(index).found


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "..", ""])
def test_shards_that_are_no_safetensors_are_refused(name: str, tmp_path: Path) -> None:
    index = shards(tmp_path, weight_map={"fc.weight": name})
    assert "safe_serialization=True" in refusal(index).remedy


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "it has no weight_map"),
        ("{}", "it has no weight_map"),
        ('{"weight_map": {}}', "it has no weight_map"),
        ('{"weight_map": []}', "it has no weight_map"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_a_json_file_that_is_no_index(text: str, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert fragment in refusal(tmp_path / "config.json").found
