"""`cohaudit scan` with code that gives no usable model: one message, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FIXTURES
from support.bad_scans import (
    CHECKPOINT,
    Make,
    assert_refused,
    copy_of_digits,
    failing_on_one,
    forward,
    net,
    options,
)
from support.scanning import scan

CASES: dict[str, tuple[Make, list[str]]] = {
    "model file with a long name": (
        options("--model", "x" * 300 + ".py:build"),
        ["model", "File name too long", "check the path"],
    ),
    "missing model file": (
        options("--model", "nte.py:build"),
        ["model", "nte.py does not exist", "check the path"],
    ),
    "no factory named": (
        options("--model", "net.py"),
        ["net.py'", "does not name a function", "net.py:build"],
    ),
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
        ["model net.py:build", "SyntaxError", "(net.py, line", "correct the code"],
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
        ["--batch-size 128", "cpu has too little memory for a batch", "smaller batch size"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_model_is_one_message_and_nothing_written(case: str, tmp_path: Path) -> None:
    make, fragments = CASES[case]
    assert_refused(make, fragments, tmp_path)


@pytest.mark.parametrize("name", [CHECKPOINT, "train.npz"])
def test_a_model_whose_code_changes_what_is_audited_is_refused(name: str, tmp_path: Path) -> None:
    digits = copy_of_digits(tmp_path)
    code = f"import os, pathlib\nos.utime(pathlib.Path(__file__).with_name({name!r}), (0, 0))\n"
    checkpoint, *_ = net(code)(digits)
    result = scan(checkpoint, "--out", tmp_path / "report")
    assert result.exit_code == 2
    assert f"importing it changed {digits / name}" in result.stderr
    assert "`if __name__ == '__main__':`" in result.stderr
    assert not (tmp_path / "report").exists()
