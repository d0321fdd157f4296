"""The whole command on bad input: exit code 2, one message that says what to do, and nothing written.

The parts that refuse have tests of their own; here is what a person sees, and what is left on the disk.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load, save
from support.folders import IS_ROOT, left_behind
from support.scanning import scan

Make = Callable[[Path], list[Any]]
"""Spoils a copy of a fixture, in a folder of its own, and returns the arguments for `cohaudit scan`."""

CHECKPOINT = "model.safetensors"
LONG = "x" * 10_000

SAID_FIRST = ("settings from ", "auditing ")
STAGES = (*SAID_FIRST, "open the ", "ask the ", "measure the ", "compare the ", "judge", "gather the ")
"""What standard error may hold before the message: how far the scan came."""


class RunsCommand:
    """Unpickling it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


# what spoils a copy of the digits


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


CASES: dict[str, tuple[Make, list[str]]] = {
    # the checkpoint
    "missing checkpoint": (
        lambda folder: [folder / "modle.safetensors"],
        ["modle.safetensors", "no such file", "did you mean model.safetensors?"],
    ),
    "folder as checkpoint": (lambda folder: [folder], ["a folder, not a file", "model.safetensors"]),
    "truncated checkpoint": (truncated(CHECKPOINT), [CHECKPOINT, "cut off", "download or save it again"]),
    "empty checkpoint": (file(CHECKPOINT, b""), [CHECKPOINT, "the file is empty", "again"]),
    "header beyond the file": (
        file(CHECKPOINT, (10**12).to_bytes(8, "little") + b'{"a":'),
        [CHECKPOINT, "its header claims 1,000,000,000,000 bytes", "again"],
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
    "truncated .pt": (truncated_torch_file, ["model.pt", "cut off or damaged", "again"]),
    "a pipe as checkpoint": (pipe, ["pipe.pt", "no regular file", "copy the checkpoint"]),
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
        [CHECKPOINT, "8 of another type: conv1.weight (checkpoint int64, model float32)", "not quantized"],
    ),
    "one layer missing": (
        weights(lambda tensors: [tensors.pop(name) for name in ("fc2.weight", "fc2.bias")]),
        [CHECKPOINT, "2 missing, only in the model", "fc2.weight", "build the model as it was trained"],
    ),
    "other names": (
        weights(lambda tensors: [tensors.update({f"{n}2": tensors.pop(n)}) for n in list(tensors)]),
        [CHECKPOINT, "8 missing", "8 unexpected", "no name is the same"],
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
        ["digits: a folder, not a file", "model.safetensors"],
    ),
    "truncated earlier checkpoint": (truncated_earlier, ["early.safetensors", "cut off", "again"]),
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
    # the model
    "model file with a long name": (
        options("--model", "x" * 300 + ".py:build"),
        ["model", "File name too long", "check the path"],
    ),
    "missing model file": (
        options("--model", "nte.py:build"),
        ["model", "nte.py does not exist", "check the path"],
    ),
    "no factory named": (options("--model", "net.py"), ["net.py'", "names no function", "net.py:build"]),
    "factory misspelt": (
        options("--model", FIXTURES / "digits" / "net.py:biuld"),
        ["net.py:biuld", "has no 'biuld'", "did you mean build?"],
    ),
    "unknown argument": (
        options("--model-arg", "widht=8"),
        ["model net.py:build", "widht", "build(width=16, hidden=64)"],
    ),
    "model file with a syntax error": (
        net("def build(:\n"),
        ["model net.py:build", "SyntaxError", "(net.py, line", "correct it"],
    ),
    "model file that trains on import": (
        net("for _ in range(9):\n    loss.backward()\n"),
        ["model net.py:build", " runs loss.backward()", "Nothing was run", "__main__"],
    ),
    "factory that fails": (
        net("def build():\n    raise RuntimeError('no\\nwider\\nthan\\nthis\\nor\\nthat')\n"),
        ["model net.py:build", "RuntimeError: no", "(net.py, line", "correct the factory"],
    ),
    "factory of a tensor": (
        net("def build():\n    return torch.zeros(3)\n"),
        ["model net.py:build", "returns Tensor, not a torch.nn.Module", "return the model"],
    ),
    "dropout that stays on": (
        forward("return torch.nn.functional.dropout(logits, 0.5, training=True)"),
        ["model", "two forward passes over the same samples differ", "training=self.training"],
    ),
    "samples that mix": (
        forward("return logits - logits.mean(0)"),
        ["model", "depend on the other samples of its batch", "so that samples do not mix"],
    ),
    "output of the wrong shape": (
        forward("return logits[:, :, None]"),
        [
            "model",
            "found float32 numbers of shape [3, 10, 1], not logits [batch, classes]",
            "returns its logits",
        ],
    ),
    "classes as output": (
        forward("return logits.argmax(1)"),
        ["model", "found int64 numbers of shape [3], not logits", "returns its logits"],
    ),
    "text as output": (
        forward("return 'digit'"),
        ["model", "found str, not logits", "returns its logits"],
    ),
    "squeezed output": (
        forward("return logits.squeeze()"),
        ["model", "but not one alone: its output has the shape [10]", "keep the batch dimension"],
    ),
    "output without classes": (
        forward("return logits.sum(1)"),
        ["model", "distinguishes 2 classes, the data has 10", "model_args"],
    ),
    "NaN as output": (forward("return logits / 0 * 0"), ["sample", "nan", "check"]),
    "forward that fails": (
        forward("assert x.shape[1] == 3, 'color images only'"),
        ["model", "AssertionError: color images only", "[3, 1, 8, 8]", "check that the data"],
    ),
    "forward that fails on one sample": (
        failing_on_one,
        ["sample digit-041", "AssertionError: index out of range", "correct or drop the sample"],
    ),
    "too little memory": (
        forward("if len(x) > 100:", "    raise torch.OutOfMemoryError('no')", "return logits"),
        ["--batch-size 128", "cpu has too little memory for a batch", "lower it"],
    ),
    # the data
    "missing data": (
        options("--data", "trian.npz"),
        ["trian.npz", "no such file or folder"],
    ),
    "data with a long name": (
        options("--data", "x" * 300 + ".npz"),
        ["x.npz", "File name too long", "check the path"],
    ),
    "random bytes as .npz": (
        file("train.npz", bytes(range(256))),
        ["train.npz", "not a .npz archive", "write it again"],
    ),
    "truncated .npz": (truncated("train.npz"), ["train.npz", "truncated", "check that the file is complete"]),
    "unreadable data": (unreadable("train.npz"), ["train.npz", "Permission denied", "permissions"]),
    "no rows": (
        arrays(lambda data: data.update({name: array[:0] for name, array in data.items()})),
        ["train.npz", "the dataset holds no sample", "check that it is the training data"],
    ),
    "labels of another length": (
        arrays(lambda data: data.update(labels=data["labels"][:90])),
        ["train.npz", "100 samples, but 90 labels", "one label a sample"],
    ),
    "negative label": (
        label(-1),
        ["train.npz", "digit-041", "the label -1 is negative", "give class numbers"],
    ),
    "gigantic label": (label(10**12), ["train.npz", "digit-041", "out of range", "give class numbers"]),
    "label above the outputs": (
        label(10),
        ["distinguishes 10 classes, the data has 11", "digit-041 has the label 10", "correct the labels"],
    ),
    "label that leaves a gap": (
        label(12),
        ["train.npz", "no sample has the label 10", "up to 12", "without a gap"],
    ),
    "label that is no whole number": (
        label(2.5),
        ["digit-041", "2.5 is not an integer", "give class numbers"],
    ),
    "label NaN": (label(np.nan), ["digit-041", "missing", "give class numbers"]),
    "NaN among the inputs": (
        arrays(
            lambda data: data.update(
                images=np.where(data["ids"][:, None, None] == "digit-041", np.nan, data["images"])[:, None]
            )
        ),
        ["train.npz", "digit-041", "holds nan at position [0, 0, 0]", "correct or drop the sample"],
    ),
    "empty class": (
        options(*(part for name in "0123456789X" for part in ("--class-names", name))),
        ["train.npz", "class 'X'", "no sample has this class", "class_names"],
    ),
    "images of another shape": (
        arrays(lambda data: data.update(images=np.zeros((100, 3, 32, 32), np.float32))),
        ["model", "of shape [3, 3, 32, 32]", "got 3 channels", "check that the data"],
    ),
    "table without the label column": (
        table(lambda rows: rows.drop(columns="diagnosis")),
        ["train.csv", "labels (--labels) = 'diagnosis'", "'id'", "mean_radius"],
    ),
    "label of an unknown class": (
        table(lambda rows: rows.assign(diagnosis=["bening", *rows["diagnosis"][1:]])),
        ["train.csv", "'T000'", "the label 'bening' is not among class_names", "did you mean benign?"],
    ),
    "table of text": (
        table(lambda rows: rows.replace({"mean_radius": {14.87: "wide"}})),
        ["train.csv", "'T007'", "'mean_radius'", "'wide' is not a number", "transform"],
    ),
    # configuration and options
    "unknown key": (
        appended("cohaudit.toml", "bacth_size = 3\n"),
        ["cohaudit.toml: bacth_size", "did you mean batch_size"],
    ),
    "broken TOML": (
        appended("cohaudit.toml", "limit = = 3\n"),
        ["cohaudit.toml", "is not valid TOML", "line 6", "correct that line"],
    ),
    "wrong type in the file": (
        appended("cohaudit.toml", 'limit = "all"\n'),
        ["cohaudit.toml: limit", "found 'all', a text", "give a whole number of at least 0"],
    ),
    "value out of range": (options("--confidence", 1.5), ["--confidence", "1.5", "strictly between 0 and 1"]),
    "value that is no number": (options("--limit", "many"), ["--limit", "'many' is not a valid integer"]),
    "unknown option": (options("--bacth-size", 3), ["--bacth-size", "--batch-size"]),
    "missing configuration": (options("--config", "no.toml"), ["no.toml", "cannot be read", "name a file"]),
    "unknown metric in a gate": (
        options("--fail-on", "riks>=high"),
        ["'riks>=high'", "no metric 'riks'", "did you mean risk"],
    ),
    "nonsense as a gate": (options("--fail-on", "too bad"), ["--fail-on", "'too bad'", "risk>=high"]),
    "no CUDA here": (cuda, ["--device cuda", "no cuda on this machine", "cpu"]),
    "too few GPUs": (options("--device", "cuda:99"), ["--device cuda:99", "this machine", "use "]),
    "unknown device": (options("--device", "gpu"), ["--device gpu", "no such device", "use auto, cpu, cuda"]),
    # the output
    "file as --out": (out(lambda folder: folder / "net.py"), ["--out", "net.py is a file", "another folder"]),
    "--out below a file": (
        out(lambda folder: folder / "net.py" / "report"),
        ["--out", "net.py is a file", "another folder"],
    ),
    "--out where nothing may be written": (
        out(unwritable),
        ["--out", "locked has no write permission", "name a folder with write permission"],
    ),
    "--out where nothing can be made": (
        out(nowhere),
        ["--out /proc", "cannot be written", "write permission"],
    ),
}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Return a copy of the digits fixture."""
    return Path(shutil.copytree(FIXTURES / "digits", tmp_path / "digits"))


@pytest.mark.parametrize("earlier", [False, True], ids=["new folder", "folder of an earlier report"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_message_and_nothing_written(
    case: str, earlier: bool, digits: Path, tmp_path: Path
) -> None:
    make, told = CASES[case]
    checkpoint, *arguments = make(digits)
    report = tmp_path / "report"
    if earlier:
        report.mkdir()
        for name in ("report.html", "audit.json", "samples.csv"):
            (report / name).write_text(f"the earlier {name}")
    before = left_behind(tmp_path)

    result = scan(checkpoint, "--out", report, *arguments)

    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    message = [line for line in lines if not line.startswith(STAGES)]
    assert lines[len(lines) - len(message) :] == message, "the message is the last that is said"
    assert [part for part in told if part not in "\n".join(message)] == [], result.stderr
    assert len(message) <= 6
    assert max(map(len, message)) < 600
    assert [line.startswith("error: ") for line in message] == [True] + [False] * (len(message) - 1)
    assert message[-1].startswith("  → ")
    assert left_behind(tmp_path) == before


@pytest.mark.parametrize("name", [CHECKPOINT, "train.npz"])
def test_a_model_whose_code_changes_what_is_audited_is_refused(
    name: str, digits: Path, tmp_path: Path
) -> None:
    code = f"import os, pathlib\nos.utime(pathlib.Path(__file__).with_name({name!r}), (0, 0))\n"
    checkpoint, *_ = net(code)(digits)
    result = scan(checkpoint, "--out", tmp_path / "report")
    assert result.exit_code == 2
    assert f"importing it changed {digits / name}" in result.stderr
    assert "`if __name__ == '__main__':`" in result.stderr
    assert not (tmp_path / "report").exists()


def test_markup_in_names_is_fine_and_escaped(digits: Path, tmp_path: Path) -> None:
    hostile = "<script>alert('owned')</script>"
    ids = {"T000": f"{hostile}&"}
    checkpoint, *_ = table(
        lambda rows: rows.replace({"diagnosis": {"benign": hostile}, "id": ids}).rename(
            columns={"mean_radius": hostile}
        )
    )(digits)
    classes = ("--class-names", "malignant", "--class-names", hostile)
    result = scan(checkpoint, *classes, "--out", tmp_path / "report")
    assert (result.exit_code, result.stderr.count("error")) == (0, 0)
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


WAIT = "import sys, time\n\n\ndef wait():\n    print('waiting', file=sys.stderr)\n    time.sleep(60)\n\n\n"
INTERRUPTED_IN = {
    "settings from ": net(WAIT + "wait()\n"),
    "measure the gradients": lambda folder: (net(WAIT)(folder), forward("wait()")(folder))[1],
}


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("said_before", INTERRUPTED_IN)
def test_an_interrupt_is_one_line_and_nothing_written(
    said_before: str, digits: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    checkpoint, *_ = INTERRUPTED_IN[said_before](digits)
    before = left_behind(tmp_path)
    # a shell that starts the tests in the background has them ignore SIGINT, and so would the scan
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, ours))
    with subprocess.Popen(
        [sys.executable, "-m", "cohaudit", "scan", checkpoint, "--out", tmp_path / "report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        said = process.stderr
        progress = list(iter(said.__next__, "waiting\n"))
        process.send_signal(signal.SIGINT)
        assert progress[-1].startswith(said_before)
        assert list(said) == ["interrupted\n"]
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert left_behind(tmp_path) == before
