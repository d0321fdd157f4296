"""An interrupted scan goes on where it was, and gives the same audit as one that was not interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.nn import functional as F

import cohaudit.gradients.measure  # noqa: F401  (the package shows the function of that name)
from cohaudit.cli import main
from cohaudit.gradients import Options, Source, measure
from cohaudit.unfinished import FOLDER, PassKeeper

SLOW = """
import sys, time
import cohaudit.unfinished as unfinished
import cohaudit.gradients.measure
unfinished.EVERY, unfinished.MOST_TIME = 0.0, 1e9
passes = sys.modules["cohaudit.gradients.measure"]._Pass
batch = passes.batch
def slow(self, indices):
    batch(self, indices)
    print("batch", flush=True)
    time.sleep(0.2)
passes.batch = slow
from cohaudit.cli import main
main(prog_name="cohaudit")
"""
"""The command line, with a pass that is slow, and kept after every batch."""

COUNT = 120
ARGUMENTS = ("model.safetensors", "--limit", str(COUNT), "--batch-size", "16", "--audits", "none")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *ARGUMENTS, *arguments])


def numbers(folder: Path) -> bytes:
    """Return audit.json without its timings, byte for byte."""
    text = (folder / "audit.json").read_text("utf-8")
    cut, found = re.subn(r'"timings": \{[^}]*\}', "", text)
    assert found == 1
    return cut.encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a scan that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    folder = Path(__file__).parent.parent / "fixtures" / "digits"
    result = CliRunner().invoke(
        main, ["scan", str(folder / "model.safetensors"), *ARGUMENTS[1:], "--out", str(out)]
    )
    assert result.exit_code == 0, result.stderr
    assert sorted(os.listdir(out)) == ["audit.json", "report.html", "samples.csv"], "nothing is left behind"
    return out


@pytest.fixture
def out(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(digits)
    return tmp_path / "out"


def ended_by(number: signal.Signals, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Return what a scan says that is ended by a signal in the middle of its pass."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # other numbers of them add up otherwise
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "scan", *ARGUMENTS, "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | threads,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "batch\n"
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, said, errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_goes_on_and_gives_the_same_audit(
    number: signal.Signals, out: Path, whole: Path
) -> None:
    ended = ended_by(number, out)
    kept = out / FOLDER
    if number == signal.SIGKILL:
        assert ended.returncode == -signal.SIGKILL
    else:
        assert ended.returncode == 130
        assert re.fullmatch(
            rf"interrupted; what was measured is kept in {kept} \(\d+\.\d MB\): "
            r"the same command goes on from there",
            ended.stderr.splitlines()[-1],
        )
    assert os.listdir(out) == [FOLDER]
    result = run("--out", str(out))
    assert result.exit_code == 0, result.stderr
    resumed = re.search(r"Resumed: (\d+) samples had been measured before", result.stdout)
    assert resumed
    assert 32 <= int(resumed[1]) <= 64
    assert numbers(out) == numbers(whole)
    assert sorted(os.listdir(out)) == ["audit.json", "report.html", "samples.csv"]


@dataclass
class Interrupting:
    """Ends the pass at a batch, in this process, as Ctrl-C does."""

    batches: int
    numbers: list[int] = field(default_factory=list)

    def __call__(self, run: Any, indices: Any) -> None:
        self.numbers.append(len(indices))
        self.batch(run, indices)
        if len(self.numbers) == self.batches:
            signal.raise_signal(signal.SIGINT)

    def __post_init__(self) -> None:
        self.batch = passes().batch


def passes() -> Any:
    return sys.modules["cohaudit.gradients.measure"].__dict__["_Pass"]


@pytest.fixture
def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the report of a scan that was ended after 4 of 8 batches."""
    with monkeypatch.context() as patch:
        ending = Interrupting(4)
        patch.setattr(passes(), "batch", lambda run, indices: ending(run, indices))
        result = run("--out", str(out))
    assert result.exit_code == 130
    assert "the same command goes on from there" in result.stderr
    return out


def test_it_can_be_interrupted_again_and_again(
    interrupted: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in (4, 3, 2):
        with monkeypatch.context() as patch:
            ending = Interrupting(1)
            patch.setattr(passes(), "batch", lambda run, indices, ending=ending: ending(run, indices))
            assert run("--out", str(interrupted)).exit_code == 130
        shards = sorted(path.name for path in (interrupted / FOLDER).glob("rows-*"))
        assert len(shards) == 6 - left
    assert run("--out", str(interrupted)).exit_code == 0
    assert numbers(interrupted) == numbers(whole)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--seed", "1"), "a scan with --seed 0; not used"),
        (("--temperature", "2"), "a scan with --temperature 1.0; not used"),
        (("--batch-size", "32"), "a scan with --batch-size 16; not used"),
        (("--limit", "100"), "a scan with other labels, --limit 120; not used"),
    ],
)
def test_another_scan_does_not_go_on_from_there_and_says_why(
    option: tuple[str, str], said: str, interrupted: Path
) -> None:
    result = run("--out", str(interrupted), *option)
    assert result.exit_code == 0
    told = [line for line in result.stderr.splitlines() if FOLDER in line]
    assert len(told) == 1
    assert told[0].endswith(said)
    assert "Resumed" not in result.stdout
    assert (interrupted / FOLDER / "sums.npz").is_file(), "it was short, and left what it did not use"


def test_settings_that_change_nothing_measured_do_not_matter(interrupted: Path) -> None:
    assert "Resumed" in run("--out", str(interrupted), "--neighbors", "5", "--fail-on", "loss>9").stdout


def test_fresh_begins_anew(interrupted: Path, whole: Path) -> None:
    result = run("--out", str(interrupted), "--fresh")
    assert "Resumed" not in result.stdout
    assert FOLDER not in result.stderr
    assert numbers(interrupted) == numbers(whole)
    assert FOLDER not in os.listdir(interrupted)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def pickle(path: Path) -> None:
    np.savez(path, facts=np.array([object()], dtype=object))


def other_shape(path: Path) -> None:
    with np.load(path) as arrays:
        content = dict(arrays)
    name = next(name for name in content if name not in {"facts", "class"} and content[name].ndim)
    np.savez(path, **(content | {name: content[name][:-1]}))


@pytest.mark.parametrize("damage", [cut, flip, pickle, other_shape, Path.unlink, lambda p: p.write_text("x")])
@pytest.mark.parametrize("name", ["sums.npz", "rows-0-64.npz", "about.json"])
def test_damage_is_told_and_costs_no_more_than_the_work(
    damage: Any, name: str, interrupted: Path, whole: Path
) -> None:
    if name == "about.json" and damage in {cut, pickle, other_shape}:
        pytest.skip("no .npz")
    damage(interrupted / FOLDER / name)
    result = run("--out", str(interrupted), "--quiet")
    assert result.exit_code == 0, result.stderr
    gone = damage is Path.unlink and name == "sums.npz"  # then nothing was kept
    assert gone or len(result.stderr.splitlines()) == 1
    assert gone or FOLDER in result.stderr
    assert numbers(interrupted) == numbers(whole)


def test_a_folder_that_cannot_be_written_costs_only_the_resuming(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PassKeeper, "_put", full)
    monkeypatch.setattr("cohaudit.unfinished.EVERY", 0.0)
    result = run("--out", str(out), "--quiet")
    assert result.exit_code == 0
    (told,) = result.stderr.splitlines()
    assert told.endswith(f"the scan cannot be resumed later: {out / FOLDER}: No space left on device")


def test_an_interruption_after_a_short_pass_keeps_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cohaudit.audit.judge", interrupted)
    result = run("--out", str(out))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert not out.exists()


def test_a_whole_pass_is_not_measured_again(out: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cohaudit.unfinished.EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("cohaudit.audit.judge", interrupted)
        assert run("--out", str(out)).exit_code == 130
    monkeypatch.setattr(passes(), "batch", interrupted)
    result = run("--out", str(out))
    assert f"Resumed: {COUNT} samples" in result.stdout
    assert numbers(out) == numbers(whole)


class Branching(nn.Module):
    """Takes another path where a batch holds a large input: the plan turns to the loop in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        if bool((x > 100).any()):
            x = F.linear(x, self.first.weight @ self.first.weight.T)
        return self.last(x)


@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize("after", range(1, 5))
def test_all_that_a_pass_holds_is_kept(after: int, label_free: bool, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 6, generator=generator)
    labels = np.arange(50) % 3
    inputs[4] = 1e4  # of the second class: its turn comes in the second batch
    source = Source(lambda chosen: inputs[list(chosen)], labels, [str(i) for i in range(50)], ["a", "b", "c"])
    options = Options(10, 1.0, 64, 0, 16, 64, 4, 1e-3, 0, label_free)
    net, cpu = Branching().eval(), torch.device("cpu")
    expected = measure(net, source, options, cpu, lambda count: None)

    class Stop(PassKeeper):
        def offer(self, state: Any) -> None:
            if state().done == 10 * after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(net, source, options, cpu, lambda count: None, Stop(tmp_path / "kept", {}))
    seen: list[int] = []
    found = measure(net, source, options, cpu, seen.append, PassKeeper(tmp_path / "kept", {}))
    assert seen == [10 * after, *[10] * (5 - after)]
    for name, value in vars(expected).items():
        assert equal(value, getattr(found, name)), name


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple) and first and hasattr(first[0], "rows"):
        return all(equal(vars(a), vars(b)) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def test_it_is_kept_as_often_as_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cohaudit.unfinished.time.perf_counter", lambda: now[0])
    keeper = PassKeeper(tmp_path / "kept", {})
    written: list[float] = []

    def put(*_: Any) -> None:
        now[0] += 0.5  # so that keeping takes 1.5 s the first time, then 1 s
        written.append(now[0])

    monkeypatch.setattr(keeper, "_put", put)
    state = pass_states()
    while now[0] < 200:
        now[0] += 1
        keeper.offer(lambda: next(state))
    assert written == [31.0 - 0.5, 31.0, 31.5] or len(written) >= 3
    assert len(written) == 7, "after 30 s, then 75 s and 50 s later: keeping takes 2 % of the time"


def pass_states() -> Iterator[Any]:
    from cohaudit.gradients import State

    for done in range(1, 1000):
        yield State(done, {}, {}, lambda start, stop: {})


def test_what_is_kept_says_what_it_depends_on(interrupted: Path) -> None:
    about = json.loads((interrupted / FOLDER / "about.json").read_text())
    assert {"cohaudit", "torch", "device", "threads", "checkpoint", "data", "labels", "code"} < set(about)
    assert about["batch_size"] == "16"


def test_a_background_job_that_ignores_ctrl_c_still_does(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Interrupting(2)
    monkeypatch.setattr(passes(), "batch", lambda run, indices: ending(run, indices))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("--out", str(out)).exit_code == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() > 0
