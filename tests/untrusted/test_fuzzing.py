"""Hostile files of every kind, through the whole command: no crash, no code run, bounded time and memory.

`pytest tests/untrusted/test_fuzzing.py --fuzz 5000` tries that many files; `--fuzz-seed` starts elsewhere.
A file that fails is named by its maker and seed, and goes into `CORPUS`.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from support.bounded_runs import run_bounded
from support.hostile_files import MAKERS, SLOW_MAKERS, Make, support

from cohaudit.errors import BAD_INPUT, OK

pytestmark = pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")

FILES = 14
"""Files of each kind of run that the whole suite tries."""
MOST_SECONDS = 10.0
MOST_MEGABYTES = 700
CORPUS: tuple[tuple[str, int], ...] = ()
"""Maker and seed of files that once failed."""
BY_NAME = {make.__name__: make for make in (*MAKERS, *SLOW_MAKERS)}


def check(make: Make, seed: int, folder: Path) -> str:
    """Make one file, read it, and return what is wrong with how that ended; '' if nothing is."""
    folder.mkdir()
    try:
        support(folder)
        arguments = make(random.Random(seed), folder)
        before = {path.name for path in folder.iterdir()}
        ended = run_bounded(arguments, folder)
        # what Python keeps of the model's own code is no output
        new = {path.name for path in folder.iterdir()} - before - {"__pycache__"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = []
    # some files are merely odd, and can be read
    if ended.code not in {OK, BAD_INPUT, 1}:
        found.append(f"exit code {ended.code}")
    if ended.code == BAD_INPUT and ended.output.count("error: ") != 1:
        found.append("not one message")
    if ended.code == BAD_INPUT and new:
        found.append(f"left {new}")
    if ended.seconds > MOST_SECONDS:
        found.append(f"took {ended.seconds:.1f} s")
    if ended.megabytes > MOST_MEGABYTES:
        found.append(f"took {ended.megabytes:.0f} MB")
    return f"{make.__name__}, seed {seed}: {', '.join(found)}\n{ended.output[-1500:]}" if found else ""


@pytest.mark.parametrize("part", range(3))
def test_files_of_every_kind(part: int, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    first = int(pytestconfig.getoption("--fuzz-seed"))
    count = max(FILES, int(pytestconfig.getoption("--fuzz")) // 3)
    failed = [
        problem
        for k in range(part, 3 * count, 3)
        if (problem := check(MAKERS[k % len(MAKERS)], first + k, tmp_path / f"f{k}"))
    ]
    assert not failed, f"{len(failed)} of {count} files:\n" + "\n".join(failed[:10])


@pytest.mark.slow
@pytest.mark.parametrize("make", SLOW_MAKERS)
def test_files_that_take_what_they_may(make: Make, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    assert check(make, int(pytestconfig.getoption("--fuzz-seed")), tmp_path / "file") == ""


@pytest.mark.parametrize(("maker", "seed"), CORPUS)
def test_what_once_failed(maker: str, seed: int, tmp_path: Path) -> None:
    assert check(BY_NAME[maker], seed, tmp_path / "file") == ""
