"""Hostile files of every kind, through the whole command: no crash, no code run, bounded time and memory.

`pytest tests/untrusted/test_fuzzing.py --fuzz 5000` tries that many files; `--fuzz-seed` starts elsewhere. A
changed file that fails, or that ends with a message that no file of the corpus ends with, goes into
`tests/untrusted/corpus/`: what a run finds, later runs try, and change further.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
from pathlib import Path

import pytest
from support.bounded_runs import CANARY, Case, Ended, run_bounded
from support.hostile_files import MAKERS, SLOW_MAKERS, scan, support
from support.mutations import CORPUS, WRITERS, mutated, mutation, seeds, unchanged

from cohaudit.errors import BAD_INPUT, GATE_FAILED, OK

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FILES = 300
"""Files that the suite tries: about ten seconds."""
MOST_SECONDS = 10.0
MOST_MEGABYTES = 600
"""A process that has imported everything takes 400 MB: together, a gigabyte."""
LARGEST_CORPUS = 50_000
"""Bytes of the whole corpus."""
ROOM = 8_000
"""Bytes of it that only files which fail may take, not those with a new message."""
LARGEST_SEED = 2_000
"""Bytes of a file that the corpus takes."""
STOP = """
from torch import nn


class Net(nn.Linear):
    def forward(self, x):
        raise ValueError("the model was reached")


def build():
    return Net(4, 3)
"""
"""A model that ends a scan after the data are read: measuring would take a second for each file."""


def stopping(folder: Path) -> None:
    support(folder)
    (folder / "net.py").write_text(STOP)
    (folder / "labels.npy").write_bytes((CORPUS / "npy" / "labels.npy").read_bytes())


def wrong(ended: Ended) -> str:
    """Return what is wrong with how a command ended; '' if nothing is."""
    found = []
    # some files are merely odd, and can be read
    if ended.code not in {OK, BAD_INPUT, GATE_FAILED}:
        found.append(f"exit code {ended.code}")
    if ended.code == BAD_INPUT and ended.output.count("error: ") != 1:
        found.append("not one message")
    if ended.canary:
        found.append("ran its code")
    if ended.code == BAD_INPUT and ended.new:
        found.append(f"left {ended.new}")
    if ended.seconds > MOST_SECONDS:
        found.append(f"took {ended.seconds:.1f} s")
    if ended.megabytes > MOST_MEGABYTES:
        found.append(f"took {ended.megabytes:.0f} MB")
    return ", ".join(found)


def cases(count: int, first: int) -> list[Case]:
    """Return the whole corpus, and as many files beside it as asked for: every fourth of a maker."""
    files = [(kind, path) for kind in WRITERS for path in seeds(kind)]
    corpus = [Case(f"corpus/{kind}/{path.name}", 0, unchanged(kind, path)) for kind, path in files]
    kinds = {kind: mutated(kind) for kind in WRITERS}
    names = list(kinds)
    for k in range(count - len(corpus)):
        if k % 4 == 0:
            make = MAKERS[k // 4 % len(MAKERS)]
            corpus.append(Case(make.__name__, first + k, make))
        else:
            kind = names[(k - k // 4) % len(names)]
            corpus.append(Case(f"changed {kind}", first + k, kinds[kind]))
    return corpus


def signature(ended: Ended) -> str:
    """Return what a message says without what it says it of."""
    message = ended.output.partition("error: ")[2].partition("\n")[0]
    return f"{ended.code} " + re.sub(r"[^a-z ]+|\b\w*\d\w*\b|'[^']*'", "", message.partition(": ")[2])[:60]


def keep(failing: list[Case], news: list[Case]) -> list[str]:
    """Put changed files into the corpus, while it is small, in this order; return their names."""
    finds = [(case, LARGEST_CORPUS) for case in failing] + [(case, LARGEST_CORPUS - ROOM) for case in news]
    kinds = [case.name.removeprefix("changed ") for case, _ in finds]
    # all before the first is written: a larger corpus makes other files of the same seeds
    contents = [mutation(kind, case.seed) for kind, (case, _) in zip(kinds, finds, strict=True)]
    size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    kept = []
    for kind, content, (_, most) in zip(kinds, contents, finds, strict=True):
        if len(content) <= LARGEST_SEED and size + len(content) <= most:
            path = CORPUS / kind / hashlib.sha256(content).hexdigest()[:12]
            path.write_bytes(content)
            size += len(content)
            kept.append(f"{kind}/{path.name}")
    return kept


def test_files_of_every_kind(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    wanted = int(pytestconfig.getoption("--fuzz"))
    tried = cases(max(FILES, wanted), int(pytestconfig.getoption("--fuzz-seed")))
    failed, known, worst = [], set(), [0.0, 0.0]
    codes: dict[int, int] = {}
    finds: list[Case] = []
    news: list[Case] = []
    for case, ended in zip(tried, run_bounded(tried, tmp_path, stopping), strict=True):
        codes[ended.code] = codes.get(ended.code, 0) + 1
        worst = [max(worst[0], ended.seconds), max(worst[1], ended.megabytes)]
        problem = wrong(ended)
        is_new = signature(ended) not in known
        known.add(signature(ended))
        if case.name.startswith("changed") and (problem or is_new):
            (finds if problem else news).append(case)
        if problem:
            failed.append(f"{case.name}, seed {case.seed}: {problem}\n{ended.output[-1500:]}")
    kept = keep(finds, news) if wanted else []
    figures = f"{len(tried)} files, exit codes {codes}, at most {worst[0]:.1f} s and {worst[1]:.0f} MB"
    sys.stdout.write(f"{figures}; kept {', '.join(kept) or 'none'}\n")  # shown with -s
    assert not failed, f"{len(failed)} of {len(tried)} files:\n" + "\n".join(failed[:20])


@pytest.mark.slow
def test_files_that_take_what_they_may(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seed = int(pytestconfig.getoption("--fuzz-seed"))
    tried = [Case(make.__name__, seed, make) for make in SLOW_MAKERS]
    ended = run_bounded(tried, tmp_path, stopping)
    failed = {case.name: wrong(one) for case, one in zip(tried, ended, strict=True) if wrong(one)}
    assert not failed


def test_the_corpus_is_small_and_a_seed_makes_the_same_file() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_CORPUS
    assert {path.parent.name for path in files} == set(WRITERS)
    assert all(mutation(kind, 7) == mutation(kind, 7) for kind in WRITERS)


def test_the_oracle_sees_code_that_runs_and_files_that_stay(tmp_path: Path) -> None:
    def make(rng: random.Random, folder: Path) -> list[str]:
        (folder / "net.py").write_text(f"open({CANARY!r}, 'w')\nraise ValueError\n")
        return scan("good.npz")

    def ends(rng: random.Random, folder: Path) -> list[str]:
        os._exit(3)

    tried = [Case("runs code", 0, make), Case("ends its process", 0, ends), Case("runs code", 0, make)]
    found = [wrong(ended) for ended in run_bounded(tried, tmp_path, support)]
    assert found[0] == found[2] == "ran its code, left ['f0/canary']"
    assert found[1] == "exit code 3"
