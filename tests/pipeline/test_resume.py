"""An interrupted scan continues where it stopped, and gives the same audit as one without an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import FIXTURES
from torch import nn
from torch.nn import functional as F

from cohaudit.cli import main
from cohaudit.gradients import Measurement, Options, PassState, Source, measure
from cohaudit.pipeline.resume import HOW_TO_RESUME, RESUME_FOLDER, PassStore

SLOW = """
import time
import cohaudit.pipeline.resume as resume
resume.SAVE_INTERVAL_SECONDS, resume.MAX_SAVE_SHARE = 0.0, 1e9
maybe_save = resume.PassStore.maybe_save
def slow(self, state):
    maybe_save(self, state)
    print("batch", flush=True)
    time.sleep(0.2)
resume.PassStore.maybe_save = slow
from cohaudit.cli import main
main(prog_name="cohaudit")
"""
"""The command line, with a slow pass that is saved after every batch."""

COUNT = 120
SIZES = ("--sketch-size", "128", "--feature-size", "32", "--bootstrap", "20")
"""Sizes at which a scan takes well under a second; what is resumed does not depend on them."""
ARGUMENTS = ("model.safetensors", "--limit", str(COUNT), "--batch-size", "16", "--audits", "none", *SIZES)


@pytest.fixture(autouse=True, scope="module")
def _no_page() -> Iterator[None]:
    """Write an empty page in place of the report, whose figures take longer than the rest of a scan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohaudit.report.write.render_html", lambda *_: "")
        yield


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *ARGUMENTS, *arguments])


def named(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    with contextlib.chdir(FIXTURES / "digits"):
        result = run("--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert named(out) == ["audit.json", "report.html", "samples.csv"], "nothing is left behind"
    return out


@pytest.fixture
def out(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(digits)
    return tmp_path / "out"


def interrupt(patch: pytest.MonkeyPatch, batches: int, number: signal.Signals = signal.SIGINT) -> None:
    """Send this process a signal after so many batches of a pass, as Ctrl-C does."""
    maybe_save = PassStore.maybe_save
    left = iter(range(batches - 1, -1, -1))

    def interrupted(self: PassStore, state: Any) -> None:
        if next(left, 1) == 0:
            signal.raise_signal(number)
        maybe_save(self, state)

    patch.setattr(PassStore, "maybe_save", interrupted)


def save_after_every_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cohaudit.pipeline.resume.SAVE_INTERVAL_SECONDS", 0.0)
    patch.setattr("cohaudit.pipeline.resume.MAX_SAVE_SHARE", 1e9)


def check_resumed(out: Path, whole: Path) -> None:
    """Check that the same command continues after 2 to 4 batches, and gives the same audit."""
    assert named(out) == [RESUME_FOLDER]
    result = run("--out", str(out))
    assert result.exit_code == 0, result.stderr
    resumed = re.search(r"Resumed: (\d+) samples were measured before", result.stdout)
    assert resumed
    assert 32 <= int(resumed[1]) <= 64
    assert numbers(out) == numbers(whole)
    assert named(out) == ["audit.json", "report.html", "samples.csv"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_command_goes_on_and_gives_the_same_audit(
    number: signal.Signals, out: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 3, number)
        ended = run("--out", str(out))
    assert ended.exit_code == 130
    assert re.fullmatch(
        rf"interrupted; what was measured is saved in {out / RESUME_FOLDER} \(\d+\.\d MB\): {HOW_TO_RESUME}",
        ended.stderr.splitlines()[-1],
    )
    check_resumed(out, whole)


def test_a_killed_process_leaves_a_pass_that_can_be_resumed(out: Path, whole: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "scan", *ARGUMENTS, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # another number of threads would add up in another order
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "batch\n"
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    check_resumed(out, whole)


def test_a_signal_to_the_process_is_told_with_its_exit_code(out: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "scan", *ARGUMENTS, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "batch\n"
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert HOW_TO_RESUME in errors.splitlines()[-1]


@pytest.fixture
def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the report of a scan that was ended after 4 of 8 batches."""
    with monkeypatch.context() as patch:
        interrupt(patch, 4)
        result = run("--out", str(out))
    assert result.exit_code == 130
    assert HOW_TO_RESUME in result.stderr
    return out


def test_it_can_be_interrupted_again_and_again(
    interrupted: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in (4, 3, 2):
        with monkeypatch.context() as patch:
            interrupt(patch, 1)
            assert run("--out", str(interrupted)).exit_code == 130
        shards = sorted(path.name for path in (interrupted / RESUME_FOLDER).glob("rows-*"))
        assert len(shards) == 6 - left
    assert run("--out", str(interrupted)).exit_code == 0
    assert numbers(interrupted) == numbers(whole)


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        (("--seed", "1"), "a scan with other samples, --seed 0; not used"),
        (("--limit", "100"), "a scan with other samples, --limit 120; not used"),
    ],
)
def test_another_scan_does_not_go_on_from_there_and_says_why(
    option: tuple[str, str], difference: str, interrupted: Path
) -> None:
    result = run("--out", str(interrupted), *option)
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if RESUME_FOLDER in line]
    assert line.endswith(difference)
    assert "Resumed" not in result.stdout
    assert (interrupted / RESUME_FOLDER / "sums.npz").is_file(), "it was short, and left what it did not use"


def test_settings_that_change_nothing_measured_do_not_matter(interrupted: Path) -> None:
    assert "Resumed" in run("--out", str(interrupted), "--neighbors", "5", "--fail-on", "loss>9").stdout


def test_fresh_begins_anew(interrupted: Path, whole: Path) -> None:
    result = run("--out", str(interrupted), "--fresh")
    assert "Resumed" not in result.stdout
    assert RESUME_FOLDER not in result.stderr
    assert numbers(interrupted) == numbers(whole)
    assert RESUME_FOLDER not in named(interrupted)


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_fresh_refuses_what_it_cannot_remove(kind: str, out: Path) -> None:
    there = out / RESUME_FOLDER
    out.mkdir()
    (out.parent / "aside").mkdir()
    if kind == "file":
        there.touch()
    elif kind == "link":
        there.symlink_to(out.parent / "aside")
    else:
        there.mkdir()
        (there / "mine.txt").touch()
    result = run("--out", str(out), "--fresh")
    assert result.exit_code == 2
    assert f"error: --fresh {there}: is not a folder of an interrupted scan alone" in result.stderr
    assert "\n  → remove it, or name another --out" in result.stderr
    assert named(out) == [RESUME_FOLDER]


def test_an_interruption_is_told_where_what_was_kept_is_gone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = PassStore.keep

    def gone(self: PassStore, state: PassState) -> None:
        keep(self, state)
        shutil.rmtree(out / RESUME_FOLDER)

    monkeypatch.setattr(PassStore, "keep", gone)
    interrupt(monkeypatch, 4)
    result = run("--out", str(out))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")


def test_a_folder_that_cannot_be_written_costs_only_the_resuming(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PassStore, "_write", full)
    save_after_every_batch(monkeypatch)
    result = run("--out", str(out), "--quiet")
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if RESUME_FOLDER in line]
    folder = out / RESUME_FOLDER
    assert line.endswith(f"the scan cannot be resumed later: {folder}: No space left on device")


def raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_interruption_after_a_short_pass_keeps_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohaudit.pipeline.scan.judge", raise_interrupt)
    result = run("--out", str(out))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert not out.exists()


def test_a_whole_pass_is_not_measured_again(out: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        save_after_every_batch(patch)
        patch.setattr("cohaudit.pipeline.scan.judge", raise_interrupt)
        assert run("--out", str(out)).exit_code == 130
    monkeypatch.setattr(PassStore, "maybe_save", raise_interrupt)  # called after each batch that is measured
    result = run("--out", str(out))
    assert f"Resumed: {COUNT} samples" in result.stdout
    assert numbers(out) == numbers(whole)


class Branching(nn.Module):
    """Takes another path to the same where a batch has a large input: the loop is taken from there on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.abs() > 5).any()):
            parts = zip(self.first.weight.split(4), self.first.bias.split(4), strict=True)
            hidden = torch.cat([F.linear(x, weight, bias) for weight, bias in parts], 1)
        else:
            hidden = self.first(x)
        logits: torch.Tensor = self.last(F.relu(hidden))
        return logits


@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize("after", range(1, 5))
def test_all_that_a_pass_holds_is_kept(after: int, label_free: bool, tmp_path: Path) -> None:
    expected, seen = measured(label_free, None)
    assert seen == [10] * 5
    with pytest.raises(KeyboardInterrupt):
        measured(label_free, Stop(tmp_path / "kept", after))
    found, seen = measured(label_free, PassStore(tmp_path / "kept", {}))
    assert seen == [10 * after, *[10] * (5 - after)]
    for name, value in vars(expected).items():
        assert equal(value, getattr(found, name)), name


def measured(label_free: bool, store: PassStore | None) -> tuple[Measurement, list[int]]:
    """Return the measurement of 50 samples, and how many were done at a time."""
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    inputs[4] = 6  # of the second class: its turn comes in the second batch
    labels, ids = np.arange(50) % 3, [str(i) for i in range(50)]
    source = Source(lambda chosen: inputs[list(chosen)], labels, ids, ["a", "b", "c"])
    options = Options(
        batch_size=10,
        temperature=1.0,
        sketch_size=64,
        sketch_memory=0,
        feature_size=16,
        class_memory=64,
        certificate_samples=4,
        certificate_tolerance=1e-3,
        seed=0,
        label_free=label_free,
    )
    torch.manual_seed(0)
    net, seen = Branching().eval(), list[int]()
    return measure(net, source, options, torch.device("cpu"), seen.append, store=store), seen


class Stop(PassStore):
    """Ends the pass after so many of its batches of ten, and keeps it."""

    def __init__(self, folder: Path, batches: int) -> None:
        super().__init__(folder, {})
        self._stop_after = batches

    def maybe_save(self, state: Any) -> None:
        if state().done == 10 * self._stop_after:
            raise KeyboardInterrupt


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple) and first and hasattr(first[0], "rows"):
        return all(equal(vars(a), vars(b)) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("x")


def pickle(path: Path) -> None:
    np.savez(path, manifest=np.array([object()], dtype=object), loss=np.array([object()], dtype=object))


def other_shape(path: Path) -> None:
    with np.load(path) as arrays:
        content = dict(arrays)
    name = "loss" if "loss" in content else "class_squares"
    np.savez(path, **(content | {name: content[name][:-1]}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("sums.npz", damage) for damage in (cut, flip, text, pickle, other_shape)),
        *(("rows-0-30.npz", damage) for damage in (cut, flip, text, pickle, other_shape, Path.unlink)),
        *(("about.json", damage) for damage in (text, Path.unlink)),
    ],
)
def test_damage_is_told_and_costs_no_more_than_the_work(
    name: str, damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = measured(False, None)
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "kept", 3))
    damage(tmp_path / "kept" / name)
    found, seen = measured(False, PassStore(tmp_path / "kept", {}))
    assert seen == [10] * 5
    assert equal(expected.squared_norms, found.squared_norms)
    assert equal(expected.class_squares, found.class_squares)
    (record,) = caplog.records
    assert re.fullmatch(r"Unfinished: .*kept is damaged \(\w+\); not used", record.getMessage())
    assert not (tmp_path / "kept").exists(), "nobody could use it"


@pytest.mark.parametrize("name", ["sums.npz", "rows-0-30.npz", "about.json"])
def test_files_of_two_scans_are_not_taken_for_those_of_one(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("kept", "other"):
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(tmp_path / folder, 3))
    (tmp_path / "other" / name).replace(tmp_path / "kept" / name)
    _, seen = measured(False, PassStore(tmp_path / "kept", {}))
    assert seen == [10] * 5
    assert "kept is damaged (ValueError); not used" in caplog.text
    assert not (tmp_path / "kept").exists()


def test_what_was_ended_before_it_counted_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("about.json", "rows-0-10.npz", "sums.npz.part", "mine.txt"):
        (kept / name).touch()
    measured(False, PassStore(kept, {}))
    assert named(kept) == ["mine.txt"]
    (kept / "mine.txt").unlink()
    measured(False, PassStore(kept, {}))
    assert named(tmp_path) == []


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_leaves_its_room_to_the_report(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, save = tmp_path / "kept", np.savez
    if after:
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(kept, after))
    before = named(kept) if after else []

    def full(file: Any, **arrays: Any) -> None:
        save(file, **arrays)
        if "manifest" in arrays:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(kept, after + 1))
    assert (named(kept) if kept.exists() else []) == before
    assert measured(False, PassStore(kept, {}))[1] == [*([10 * after] if after else []), *[10] * (5 - after)]


def test_a_symbolic_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "kept", 3))
    there = named(tmp_path / "kept")
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "link", 4))
    assert "link is a symbolic link" in caplog.text
    assert measured(False, PassStore(tmp_path / "link", {"other": "data"}))[1] == [10] * 5
    assert named(tmp_path / "kept") == there
    assert named(tmp_path) == ["kept", "link"]


def test_it_is_kept_as_often_as_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    kept: list[float] = []

    def write(*_: Any) -> None:
        nonlocal now
        now += 0.5  # two files each time, and a third one the first time

    monkeypatch.setattr("cohaudit.pipeline.resume.time.perf_counter", lambda: now)
    monkeypatch.setattr(PassStore, "_write", write)
    store = PassStore(tmp_path / "kept", {})
    for done in range(1, 300):
        now, before = now + 1, now + 1
        store.maybe_save(partial(PassState, done, {"sum": np.zeros(125_000)}, {}, lambda start, stop: {}, 0))
        if now > before:
            kept.append(before)
    assert kept[0] == 30
    # 1.5 s the first time, then 1 s each; what it will take is known when it begins
    assert all(0.5 + k <= 0.02 * when for k, when in enumerate(kept[1:], 2))
    assert len(kept) == 5


def test_what_takes_longer_to_write_than_to_measure_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("cohaudit.pipeline.resume.time.perf_counter", lambda: now)
    store = PassStore(tmp_path / "kept", {})
    for done in range(1, 300):
        now += 1
        store.maybe_save(partial(PassState, done, {}, {}, lambda start, stop: {}, 100_000_000))
    assert not (tmp_path / "kept").exists()


def test_what_is_kept_says_what_it_depends_on(interrupted: Path) -> None:
    about = json.loads((interrupted / RESUME_FOLDER / "about.json").read_text())
    assert {"cohaudit", "torch", "device", "threads", "checkpoint", "data", "samples", "code"} < set(about)
    assert about["batch_size"] == "16"


def test_a_background_job_that_ignores_ctrl_c_still_does(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 2)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("--out", str(out)).exit_code == 0
    finally:
        signal.signal(signal.SIGINT, before)
