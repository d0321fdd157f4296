"""A scan by shards: the report of one process, byte for byte; what is missing or foreign is named."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cohaudit.cli import main

FIXTURES = Path(__file__).parents[2] / "fixtures"
DIGITS = FIXTURES / "digits"
CHECKPOINT = DIGITS / "model.safetensors"
SETTINGS = ("--config", DIGITS / "cohaudit.toml", "--limit", 200, "--batch-size", 7)
SUMS = ("--coherence-samples", 60)
BLOCKS = 7


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def merge(shards: Path, out: Path, *more: Any) -> Result:
    return run("merge", shards, CHECKPOINT, *SETTINGS, *SUMS, "--out", out, *more)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the three shards of one scan; not to be changed."""
    folder = tmp_path_factory.mktemp("shards")
    for number in (3, 1, 2):
        done = run("scan", CHECKPOINT, *SETTINGS, *SUMS, "--shard", f"{number}/3", "--out", folder)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == ""
        assert f"shard {number}/3: " in done.stderr
    return folder


def without_timings(folder: Path) -> str:
    text = (folder / "audit.json").read_text("utf-8")
    assert json.loads(text)["timings"]
    return re.sub(r'"timings": \{.*?\}', "", text, flags=re.DOTALL)


def test_merged_shards_are_the_scan_of_one_process_byte_for_byte(shards: Path, tmp_path: Path) -> None:
    one, merged = tmp_path / "one", tmp_path / "merged"
    assert run("scan", CHECKPOINT, *SETTINGS, *SUMS, "--out", one).exit_code == 0
    done = merge(shards, merged)
    assert done.exit_code == 0, done.stderr
    assert without_timings(one) == without_timings(merged)
    assert (one / "samples.csv").read_bytes() == (merged / "samples.csv").read_bytes()
    assert len(list(shards.iterdir())) == BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize("coherence", ["exact", "fast"])
def test_so_are_they_with_every_gradient_and_with_none(coherence: str, tmp_path: Path) -> None:
    settings = (*SETTINGS, *SUMS, "--coherence", coherence)
    for number in (1, 2):
        run("scan", CHECKPOINT, *settings, "--shard", f"{number}/2", "--out", tmp_path / "shards")
    run("scan", CHECKPOINT, *settings, "--out", tmp_path / "one")
    run("merge", tmp_path / "shards", CHECKPOINT, *settings, "--out", tmp_path / "merged")
    assert without_timings(tmp_path / "one") == without_timings(tmp_path / "merged")


def test_a_missing_shard_is_named_with_the_command_that_measures_it(shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    (copy / "block-4-of-7.npz").unlink()
    done = merge(copy, tmp_path / "out")
    assert done.exit_code == 2
    assert "1 of 7 blocks are missing: block-4-of-7.npz" in done.stderr
    assert not (tmp_path / "out" / "audit.json").exists()
    command = re.search(r"run: (cohaudit scan .* --shard 2/3)$", done.stderr, re.MULTILINE)
    assert command, done.stderr
    again = run(*shlex.split(command[1])[1:])
    assert again.exit_code == 0
    assert ", 1 of them measured before" in again.stderr
    with np.load(copy / "block-4-of-7.npz") as found, np.load(shards / "block-4-of-7.npz") as expected:
        assert {*found} == {*expected}
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_shards_of_another_checkpoint_are_refused(shards: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(CHECKPOINT.read_bytes()[:-4] + b"\0\0\0\0")
    done = run("merge", shards, other, *SETTINGS, *SUMS, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "block-1-of-7.npz: is from a scan with another checkpoint" in done.stderr


@pytest.mark.parametrize("shard", ["3", "0/3", "4/3", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(shard: str, tmp_path: Path) -> None:
    done = run("scan", CHECKPOINT, *SETTINGS, "--shard", shard, "--out", tmp_path)
    assert done.exit_code == 2
    assert f"--shard {shard}: is not K/N" in done.stderr


def test_more_shards_than_blocks_are_refused(tmp_path: Path) -> None:
    done = run("scan", CHECKPOINT, *SETTINGS, *SUMS, "--shard", "1/8", "--out", tmp_path)
    assert done.exit_code == 2
    assert "use --shard 1/7" in done.stderr
