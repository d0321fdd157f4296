"""The README is true: its commands and its code run, in order, as a reader would run them.

A block whose first line is `# file: NAME` is saved under that name in the working directory. Any other sh
block runs in bash and stops at the first command that fails; `cd` lasts. Any other python block runs as a
script at the root. Installing and testing are left out: `.ci/run` does both by the README's own commands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

import cohaudit

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
COMMANDS = (
    "pip install -c constraints.txt . && cohaudit scan fixtures/digits/model.safetensors",
    "pip install -c constraints.txt '.[test]' && pytest",
)
RUN_ELSEWHERE = re.compile(r"(pip install|pytest)\b")
FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
ONLY_SHOWN = {"text", "console", "yaml", "json", "csv", "html", "diff", "mermaid"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    code: str
    line: int
    """Where it starts, counted from 1."""

    @property
    def file(self) -> str:
        """The name to save it under, empty when it is to be run."""
        named = re.match(r"# file: (\S+)", self.code)
        return named[1] if named else ""


class Reader:
    """Does what the page says, in a folder that holds the fixtures.

    Args:
        root: The folder; it stands for the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = self.here = root
        shutil.copytree(ROOT / "fixtures", root / "fixtures", ignore=shutil.ignore_patterns("__pycache__"))
        self._at = root.parent / "working-directory"
        self._environment = os.environ | {
            "PATH": f"{_command(root.parent / 'bin')}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(cohaudit.__file__).parents[1]),
        }

    def follow(self, block: Block) -> None:
        """Save or run one block."""
        if block.file:
            (self.here / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            self._run(block, [sys.executable, "-"], block.code, self.root)
        elif block.language in {"sh", "bash"}:
            script = f"{runnable(block.code)}\npwd > {shlex.quote(str(self._at))}\n"
            self._run(block, ["bash", "-e"], script, self.here)
            self.here = Path(self._at.read_text(encoding="utf-8").rstrip("\n"))
        elif block.language == "toml":
            tomllib.loads(block.code)

    def _run(self, block: Block, command: list[str], code: str, cwd: Path) -> None:
        done = subprocess.run(
            command, input=code, cwd=cwd, env=self._environment, capture_output=True, text=True
        )
        said = f"{block.code}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"README.md:{block.line} ended with {done.returncode}\n{said}"


def _command(folder: Path) -> Path:
    """Make a folder whose `cohaudit` and `python` are those under test, and return it."""
    folder.mkdir()
    for name, arguments in (("cohaudit", " -m cohaudit"), ("python", "")):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments} "$@"\n', encoding="utf-8"
        )
        script.chmod(0o755)
    return folder


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [
        Block(found[2], dedent(found[3]), page.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(page)
    ]


def runnable(code: str) -> str:
    """Return shell code without its commands that install or test."""
    lines = (
        [command for command in line.split(" && ") if not RUN_ELSEWHERE.match(command.strip())]
        for line in code.splitlines()
    )
    return "\n".join(" && ".join(line) for line in lines)


PAGE = """
```sh
pip install . && cohaudit scan m
pytest
cd x
```
1. Then:
   ```python
   # file: net.py
   x = 1
   ```
"""


def test_the_runner_reads_blocks_and_leaves_out_installing() -> None:
    first, second = blocks(PAGE)
    assert (first.language, first.line, first.file) == ("sh", 2, "")
    assert runnable(first.code) == "cohaudit scan m\n\ncd x"
    assert second == Block("python", "# file: net.py\nx = 1\n", 8)
    assert second.file == "net.py"


def test_the_runner_honors_cd_and_stops_at_what_fails(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "root")
    reader.follow(Block("sh", "mkdir there\ncd there\n", 1))
    reader.follow(Block("python", "# file: one.py\nONE = 1\n", 1))
    reader.follow(Block("sh", "python -c 'import one'\ncohaudit --version\n", 1))
    reader.follow(
        Block("python", "import pathlib, cohaudit\nassert pathlib.Path('there/one.py').exists()\n", 1)
    )
    with pytest.raises(AssertionError, match=r"README\.md:7 ended with 1"):
        reader.follow(Block("sh", "false\ntrue\n", 7))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_and_the_build_server_use_the_same_commands(command: str) -> None:
    in_blocks = [
        line for block in blocks(README.read_text(encoding="utf-8")) for line in block.code.splitlines()
    ]
    assert command in in_blocks
    assert command in map(str.strip, (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines())


def test_every_block_says_what_it_is() -> None:
    known = {"sh", "bash", "python", "toml"} | ONLY_SHOWN
    found = blocks(README.read_text(encoding="utf-8"))
    assert [(block.line, block.language) for block in found if block.language not in known] == []


@pytest.mark.slow
def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "root")
    for block in blocks(README.read_text(encoding="utf-8")):
        reader.follow(block)
    assert (reader.root / "cohaudit-report" / "report.html").exists()
