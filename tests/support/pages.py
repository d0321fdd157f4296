"""Reads the blocks of a Markdown page, and does what they say, in order, as a reader would.

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
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from support.warm import warm_python

import cohaudit

ROOT = Path(__file__).parents[2]
RUN_ELSEWHERE = re.compile(r"(pip install|pytest)\b")
FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
ONLY_SHOWN = {"text", "console", "yaml", "json", "csv", "html", "diff", "mermaid", "xml", "groovy"}


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
    """Does what a page says, in a folder that holds the fixtures.

    Args:
        root: The folder; it stands for the repository.
        page: What to call the page when something fails.
    """

    def __init__(self, root: Path, page: str = "README.md") -> None:
        self.root = self.here = root
        self.page = page
        shutil.copytree(ROOT / "fixtures", root / "fixtures", ignore=shutil.ignore_patterns("__pycache__"))
        # which names the configurations of the fixtures as trusted, as in a checkout
        shutil.copy(ROOT / "pyproject.toml", root)
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
            self._run(block, ["python", "-"], block.code, self.root)
        elif block.language in {"sh", "bash"}:
            script = f"{runnable(block.code)}\npwd > {shlex.quote(str(self._at))}\n"
            self._run(block, ["bash", "-e"], script, self.here)
            self.here = Path(self._at.read_text(encoding="utf-8").rstrip("\n"))
        elif block.language == "toml":
            tomllib.loads(block.code)

    def _run(self, block: Block, command: list[str], code: str, cwd: Path) -> None:
        program = shutil.which(command[0], path=self._environment["PATH"]) or command[0]
        done = subprocess.run(
            [program, *command[1:]],
            input=code,
            cwd=cwd,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        said = f"{block.code}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{self.page}:{block.line} ended with {done.returncode}\n{said}"


def _command(folder: Path) -> Path:
    """Make a folder whose `cohaudit` and `python` are those under test, and return it."""
    folder.mkdir()
    for name, arguments in (("cohaudit", " -m cohaudit"), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {warm_python()}{arguments} "$@"\n', encoding="utf-8")
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
