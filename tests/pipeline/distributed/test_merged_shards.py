"""Folders of shards: what is missing, damaged or of another scan is named, with the command that makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohaudit.errors import ReportError
from cohaudit.gradients import BlockRequest, BlockState, Source, pass_order
from cohaudit.pipeline.distributed.block_files import BlockFolder, key_of
from cohaudit.pipeline.distributed.merged_shards import MergedShards
from cohaudit.pipeline.distributed.shard import Shard

LABELS = np.repeat(np.arange(5), 16)
STEPS = pass_order(LABELS, 4, "sums")
KEY = {"checkpoint": "sha", "data": "other sha", "seed": "0", "device": "cpu", "threads": "1"}
SOURCE = Source(lambda indices: None, LABELS, [str(i) for i in LABELS], [*"abcde"])


def state(block: int) -> BlockState:
    return BlockState({"loss": np.full(3, block)}, {"head-0": np.ones(2) * block}, {"looped": []})


def written(path: Path, key: dict[str, str] = KEY, of: int = 2) -> BlockFolder:
    folder = BlockFolder(path, key_of(key, "sums"), len(STEPS))
    for block in range(folder.count):
        folder.write(block, state(block), of)
    return folder


def read(path: Path, key: dict[str, str] = KEY, note: Callable[[str], None] = print) -> list[BlockState]:
    merged = MergedShards(path, "cohaudit scan c.pt --out shards", note)
    blocks = merged.blocks_of("training", SOURCE, np.arange(len(LABELS)), key)
    assert blocks is not None
    nothing: Any = None
    return list(blocks.first(BlockRequest("sums", nothing, nothing, STEPS, lambda _: None)))


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    written(tmp_path)
    for block, found in enumerate(read(tmp_path)):
        assert found.rows["loss"].tolist() == [block] * 3
        assert found.sums["head-0"].tolist() == [block] * 2
        assert found.metadata == {"looped": []}
    assert len(STEPS) == 5


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = path.read_bytes()
    found = content.index(np.full(3, 3).tobytes())
    path.write_bytes(content[:found] + b"\1" + content[found + 1 :])


def pickled(path: Path) -> None:
    np.savez(path, about=np.array([object()], dtype=object))


def emptied(path: Path) -> None:
    np.savez(path, about=np.array("{}"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (Path.unlink, "1 of 5 blocks are missing: block-4-of-5.npz\n  → run: "),
        (cut, "block-4-of-5.npz: is damaged (BadZipFile)\n  → remove it and run: "),
        (flip, "block-4-of-5.npz: is damaged (BadZipFile)\n  → remove it and run: "),
        (pickled, "block-4-of-5.npz: is damaged (ValueError)\n  → remove it and run: "),
        (emptied, "block-4-of-5.npz: is damaged (KeyError)\n  → remove it and run: "),
    ],
)
def test_a_block_that_is_missing_or_damaged_is_named(change: Any, found: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    change(folder.file(3))
    with pytest.raises(ReportError) as caught:
        read(tmp_path)
    assert f"{found}cohaudit scan c.pt --out shards --shard 2/2" in str(caught.value)
    # measured again by the shard itself, but for a flipped bit, which only reading it all finds
    assert not folder.has(3) or change is flip


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"checkpoint": "x"}, "is from a scan with another checkpoint"),
        ({"data": "x"}, "is from a scan with other data"),
        ({"seed": "1"}, "is from a scan with --seed 1"),
    ],
)
def test_blocks_of_another_scan_are_refused(change: dict[str, str], found: str, tmp_path: Path) -> None:
    folder = written(tmp_path, KEY | change)
    with pytest.raises(ReportError, match=found):
        read(tmp_path)
    other = BlockFolder(tmp_path, key_of(KEY, "sums"), len(STEPS))
    assert folder.has(0)
    assert not other.has(0)


def test_several_shards_that_are_missing_are_all_named(tmp_path: Path) -> None:
    folder = written(tmp_path, of=5)
    for block in (1, 3, 4):
        folder.file(block).unlink()
    with pytest.raises(ReportError, match=r"--shard 2/5 \(and 4/5, 5/5\)"):
        read(tmp_path)


def test_an_empty_folder_and_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"holds none of the 5 blocks\n.* --shard 1/N, and so on to N/N"):
        read(tmp_path)
    with pytest.raises(ReportError, match="no such folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "block-1-of-9.npz").touch()
    with pytest.raises(ReportError, match=r"has 5 blocks, and none is there; block-1-of-9.npz is of"):
        read(tmp_path)


def test_another_machine_is_noted_and_not_refused(tmp_path: Path) -> None:
    notes: list[str] = []
    written(tmp_path)
    read(tmp_path, KEY | {"threads": "9"}, notes.append)
    assert notes == []  # the merge adds up nothing within a batch
    BlockFolder(tmp_path, key_of(KEY | {"threads": "8"}, "sums"), 5).write(2, state(2), 2)
    read(tmp_path, KEY, notes.append)
    assert "round differently" in notes[0]
    assert not BlockFolder(tmp_path, key_of(KEY, "sums"), 5).has(2)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_block_is_in_one_shard(of: int) -> None:
    shards = [Shard(number, of).blocks(7) for number in range(1, of + 1)]
    assert [block for shard in shards for block in shard] == list(range(7))
    assert all(shards)
