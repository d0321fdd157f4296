"""Names that are not UTF-8, that are too long, or of what is no file: a message, and never a bug."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.hostile_files import support

from cohaudit.cli import main
from cohaudit.errors import BAD_INPUT, OK

ODD = os.fsdecode(b"x\xff\xfe")
LONG = "a" * 5000
GATE = ("--fail-on", "suspects>0")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    support(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def scan(checkpoint: str = "good.safetensors", model: str = "net.py:build", data: str = "good.npz") -> Result:
    return run("scan", checkpoint, "--model", model, "--data", data, "--out", "out", "-q")


def test_a_name_that_is_not_utf_8() -> None:
    for name in ("good.safetensors", "net.py"):
        shutil.copy(name, ODD + Path(name).suffix)
    assert "is not UTF-8" in scan(f"{ODD}.safetensors").stderr
    # the model is imported, and the scan goes on to the data
    assert "no such file" in scan(model=f"{ODD}.py:build", data="absent.npz").stderr
    assert run("init").exit_code == OK
    assert "xÿ" not in Path("cohaudit.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["check", "report", "export", "review", "correct", "diff"])
def test_a_name_that_is_too_long(command: str) -> None:
    options = {"correct": ("--data", "good.npz", "--out", "o.npz"), "diff": (LONG,), "check": GATE}
    result = run(command, LONG, *options.get(command, ("--out", "o")))
    assert result.exit_code == BAD_INPUT
    # the name is cut, and what to do about it is not
    assert result.stderr.startswith(f"error: {LONG[:100]}")
    assert result.stderr.endswith("check the file and its permissions\n")
    assert len(result.stderr) < 1000


@pytest.mark.parametrize("option", ["--model", "--transform", "--data"])
def test_a_pipe_in_the_place_of_code(option: str) -> None:
    os.mkfifo("p.py")
    subject = {"--model": "net.py:build", "--data": "good.npz"} | {option: "p.py:build"}
    given = [part for pair in subject.items() for part in pair]
    result = run("scan", "good.safetensors", *given, "--out", "out", "-q")
    assert result.exit_code == BAD_INPUT
    assert "p.py: is a named pipe, not a regular file" in result.stderr


def test_a_pipe_in_the_place_of_the_settings() -> None:
    os.mkfifo("cohaudit.toml")
    assert "cohaudit.toml: is a named pipe" in run("scan", "good.safetensors").stderr


def test_a_shell_that_grants_too_little_memory() -> None:
    command = f"ulimit -v 800000; {sys.executable} -m cohaudit doctor > /dev/full"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert result.returncode == BAD_INPUT
    assert "the shell grants 0.8 GB, and torch takes 1.5 GB to load" in result.stderr


def test_help_on_a_full_disk() -> None:
    command = f"{sys.executable} -m cohaudit --help > /dev/full"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert result.returncode == BAD_INPUT
    assert result.stderr.startswith("error: output: cannot be written: No space left on device")
