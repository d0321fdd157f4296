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
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from conftest import FIXTURES
from support.folders import names_in

from cohaudit.cli import main
from cohaudit.errors import Interrupted
from cohaudit.gradients import PassState
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
    assert names_in(out) == ["audit.json", "report.html", "samples.csv"], "nothing is left behind"
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
    assert names_in(out) == [RESUME_FOLDER]
    result = run("--out", str(out))
    assert result.exit_code == 0, result.stderr
    resumed = re.search(r"Resumed: (\d+) samples were measured before", result.stdout)
    assert resumed
    assert 32 <= int(resumed[1]) <= 64
    assert numbers(out) == numbers(whole)
    assert names_in(out) == ["audit.json", "report.html", "samples.csv"]


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
    assert RESUME_FOLDER not in names_in(interrupted)


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
    assert names_in(out) == [RESUME_FOLDER]


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
    assert line.endswith(
        f"Cannot resume: the state of the scan cannot be saved: {folder}: No space left on device"
    )


def raise_interrupt(*_: Any) -> None:
    raise Interrupted


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
