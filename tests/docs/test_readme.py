"""The README is true: its commands and its code run, in order, as a reader would run them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.pages import ONLY_SHOWN, ROOT, Block, Reader, blocks, runnable

README = ROOT / "README.md"
COMMANDS = (
    "pip install -c constraints.txt . && cohaudit scan fixtures/digits/model.safetensors",
    "pip install -c constraints.txt '.[test]' && pytest",
)
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
    samples = pd.read_csv(reader.root / "cohaudit-report" / "samples.csv", index_col="id")
    wrong = pd.read_csv(ROOT / "fixtures/digits/truth.csv", index_col="id")["flipped"] == 1
    listed = samples["suspect"]
    found = (listed & wrong).sum()
    said = f"It lists {listed.sum()} suspects. {found} of them are among the {wrong.sum()} wrong labels"
    assert said in " ".join(README.read_text(encoding="utf-8").split())
