"""Copies of the fixtures with something wrong in them, and how the whole command refuses them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load, save
from support.checkpoints import RunsCommand
from support.folders import IS_ROOT, left_behind
from support.scanning import scan

Make = Callable[[Path], list[Any]]
"""Spoils a copy of a fixture, in a folder of its own, and returns the arguments for `cohaudit scan`."""

CHECKPOINT = "model.safetensors"
LONG = "x" * 10_000


def options(*arguments: Any) -> Make:
    """Leave the files as they are."""
    return lambda folder: [folder / CHECKPOINT, *arguments]


def file(name: str, content: bytes, *arguments: Any) -> Make:
    """Replace a file; a checkpoint is then the one to scan."""

    def make(folder: Path) -> list[Any]:
        (folder / name).write_bytes(content)
        scanned = CHECKPOINT if name.endswith((".npz", ".csv", ".py", ".toml")) else name
        return [folder / scanned, *arguments]

    return make


def appended(name: str, text: str, *arguments: Any) -> Make:
    """Add lines to the end of a file."""

    def make(folder: Path) -> list[Any]:
        (folder / name).write_text((folder / name).read_text() + text)
        return [folder / CHECKPOINT, *arguments]

    return make


def net(text: str, *arguments: Any) -> Make:
    """Redefine something in net.py."""
    return appended("net.py", "\n\n" + text, *arguments)


def forward(*body: str) -> Make:
    """Give the network another forward pass; `logits` is what the true one returns."""
    lines = ["logits = super().forward(x)", *body]
    return net(
        "class Other(DigitsNet):\n    def forward(self, x):\n"
        + "".join(f"        {line}\n" for line in lines)
        + "\n\nbuild = Other\n"
    )


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Make:
    """Change tensors of the checkpoint in place."""

    def make(folder: Path) -> list[Any]:
        tensors = load((folder / CHECKPOINT).read_bytes())
        change(tensors)
        (folder / CHECKPOINT).write_bytes(save(tensors))
        return [folder / CHECKPOINT]

    return make


def arrays(change: Callable[[dict[str, Any]], object], *arguments: Any) -> Make:
    """Change the arrays of train.npz in place; only 100 samples are kept."""

    def make(folder: Path) -> list[Any]:
        kept = {name: array[:100].copy() for name, array in np.load(folder / "train.npz").items()}
        kept["ids"] = np.array([f"digit-{i:03}" for i in range(100)])
        change(kept)
        np.savez(folder / "train.npz", **kept)
        return [folder / CHECKPOINT, *arguments]

    return make


def label(value: Any) -> Make:
    """Give the sample digit-041 another label."""

    def change(data: dict[str, Any]) -> None:
        data["labels"] = data["labels"].astype(type(value))
        data["labels"][41] = value

    return arrays(change)


def header(entries: dict[str, Any], body: bytes = bytes(8)) -> Make:
    """Write a safetensors file with a false header."""
    text = json.dumps(entries).encode()
    return file(CHECKPOINT, len(text).to_bytes(8, "little") + text + body)


def entry(start: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end]} | changes


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Make:
    """Change the table of the tumors, of which only 60 rows are kept."""

    def make(folder: Path) -> list[Any]:
        tumors = shutil.copytree(FIXTURES / "tumors", folder / "tumors")
        change(pd.read_csv(tumors / "train.csv")[:60]).to_csv(tumors / "train.csv", index=False)
        return [tumors / CHECKPOINT]

    return make


def truncated(name: str) -> Make:
    def make(folder: Path) -> list[Any]:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        return [folder / CHECKPOINT]

    return make


def earlier(change: Callable[[dict[str, torch.Tensor]], object], name: str = "early.safetensors") -> Make:
    """Put a changed copy of the checkpoint before it, as an earlier one."""

    def make(folder: Path) -> list[Any]:
        tensors = load((folder / CHECKPOINT).read_bytes())
        change(tensors)
        (folder / name).write_bytes(save(tensors))
        return [folder / name, folder / CHECKPOINT]

    return make


def truncated_earlier(folder: Path) -> list[Any]:
    (folder / "early.safetensors").write_bytes((folder / CHECKPOINT).read_bytes()[:1000])
    return [folder / "early.safetensors", folder / CHECKPOINT]


def dangling_link(folder: Path) -> list[Any]:
    (folder / CHECKPOINT).unlink()
    (folder / CHECKPOINT).symlink_to("moved.safetensors")
    return [folder / CHECKPOINT]


def unreadable(name: str) -> Make:
    def make(folder: Path) -> list[Any]:
        if IS_ROOT:
            pytest.skip("root may read everything")
        (folder / name).chmod(0)
        return [folder / CHECKPOINT]

    return make


def attack(folder: Path) -> list[Any]:
    torch.save({"state_dict": RunsCommand(f"touch {folder / 'ran'}")}, folder / "model.pt")
    return [folder / "model.pt"]


def truncated_torch_file(folder: Path) -> list[Any]:
    path = folder / "model.pt"
    torch.save(load((folder / CHECKPOINT).read_bytes()), path)
    path.write_bytes(path.read_bytes()[:-1000])
    return [path]


def pipe(folder: Path) -> list[Any]:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(folder / "pipe.pt")
    return [folder / "pipe.pt"]


def cuda(folder: Path) -> list[Any]:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    return [folder / CHECKPOINT, "--device", "cuda"]


def failing_on_one(folder: Path) -> list[Any]:
    """Let the model fail on the sample digit-041 alone, as an embedding does on an unknown token."""
    forward("assert x.max() <= 1, 'index out of range'", "return logits")(folder)
    return arrays(lambda data: data.update(images=_with_five(data["images"])))(folder)


def _with_five(images: np.ndarray) -> np.ndarray:
    floats = images[:, None].astype(np.float32) / 255
    floats[41] = 5
    return floats


def out(make_out: Callable[[Path], Any]) -> Make:
    return lambda folder: [folder / CHECKPOINT, "--out", make_out(folder), "--limit", 40]


def unwritable(folder: Path) -> Path:
    if IS_ROOT:
        pytest.skip("root may write everywhere")
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked" / "report"


def nowhere(_: Path) -> Path:
    if not Path("/proc/self").exists():
        pytest.skip("needs a file system that takes no new folder")
    return Path("/proc/cohaudit-report")


def copy_of_digits(folder: Path) -> Path:
    """Return a copy of what a scan reads of the digits fixture."""
    ignored = shutil.ignore_patterns("holdout.npz", "truth.csv", "__pycache__")
    return Path(shutil.copytree(FIXTURES / "digits", folder / "digits", ignore=ignored))


def assert_refused(make: Make, fragments: Sequence[str], folder: Path) -> None:
    """Check that a scan ends with exit code 2 and one message, and leaves the disk as it was.

    The same bad input is scanned twice: with its progress into a new folder, and with -q into the folder of
    an earlier report. The message is the last thing said, and with -q the only one but for where the settings
    come from. Bad input that names an
    output folder of its own is scanned once, with -q.

    Args:
        make: Spoils a copy of the digits, and returns the arguments of the scan.
        fragments: What the message must hold.
        folder: An empty folder.
    """
    checkpoint, *arguments = make(copy_of_digits(folder))
    if "--out" not in arguments:
        said = _refused(folder, checkpoint, *arguments)
        _assert_one_message(said[said.index("error: ") :], fragments)
    report = folder / "report"
    report.mkdir()
    for name in ("report.html", "audit.json", "samples.csv"):
        (report / name).write_text(f"the earlier {name}")
    quiet = _refused(folder, checkpoint, *arguments, "-q")
    if quiet.startswith("settings from "):
        quiet = quiet.partition("\n")[2]
    _assert_one_message(quiet, fragments)


def _assert_one_message(message: str, fragments: Sequence[str]) -> None:
    lines = message.splitlines()
    assert [part for part in fragments if part not in message] == [], message
    assert len(lines) <= 6
    assert max(map(len, lines)) < 600
    assert [line.startswith("error: ") for line in lines] == [True] + [False] * (len(lines) - 1)
    assert lines[-1].startswith("  → ")


def _refused(folder: Path, checkpoint: Path, *arguments: Any) -> str:
    """Return what a refused scan says on standard error."""
    before = left_behind(folder)
    result = scan(checkpoint, "--out", folder / "report", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert left_behind(folder) == before
    return result.stderr
