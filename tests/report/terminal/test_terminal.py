"""What the commands print, in a real terminal of several widths, and where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from support.audits import make_audit
from support.warm import warm_python

from cohaudit.results.json_encode import audit_to_json

COUNT = ("--limit", "60", "--batch-size", "4")
TOLD = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
"""What would say more of a terminal than itself; the last two are set where tests run in parallel."""
CLEAN = {name: value for name, value in os.environ.items() if name not in TOLD}
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def environment(**more: str) -> dict[str, str]:
    return CLEAN | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"} | more


def in_terminal(*arguments: str, width: int = 80, until: str | None = None, **more: str) -> tuple[str, int]:
    """Return what a command writes to a terminal, and its exit code; at `until`, Ctrl-C is typed.

    Ctrl-C is for the processes that the terminal controls, so that command is a Python of its own.
    """
    python = shlex.split(warm_python()) if until is None else [sys.executable]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(
        [*python, "-m", "cohaudit", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**more),
        start_new_session=True,
        # so that Ctrl-C reaches it; there is but this thread
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(theirs)
    said, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            read = os.read(ours, 65536)
        except OSError:  # its other end is closed
            break
        if not read:
            break
        said += read
        if until is not None and re.search(until, said.decode("utf-8", "ignore")):
            os.write(ours, b"\x03")
            until = None
    os.close(ours)
    return said.decode(), process.wait(timeout=60)


def screen(said: str, width: int) -> list[str]:
    """Return the lines that are left in a terminal that scrolls back; only what rich writes is understood."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|\r|\n|[^\x1b\r\n]+", said):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif token.startswith("\x1b"):
            assert STYLE.fullmatch(token) or token in {SHOWN, HIDDEN}, repr(token)
        else:
            lines[row] = f"{lines[row][:column]:{column}}{token}"
            column += len(token)
    assert max(map(cell_len, lines)) <= width
    return lines


@pytest.fixture(scope="module")
def audit_json() -> str:
    return audit_to_json(make_audit())


@pytest.fixture
def audit(audit_json: str, tmp_path: Path) -> Path:
    path = tmp_path / "audit.json"
    path.write_text(audit_json, encoding="utf-8")
    return path


def scan_of(digits: Path) -> tuple[str, ...]:
    """Return a command from another folder: with the settings named, because they name code."""
    return ("scan", str(digits / "model.safetensors"), "--config", str(digits / "cohaudit.toml"))


@pytest.mark.parametrize("width", [40, 80])
def test_a_scan_leaves_the_summary_alone(
    width: int, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said, code = in_terminal(*scan_of(digits), *COUNT, "--out", "r", width=width)
    assert code == 0, said
    assert re.search(r"\d+/60", said), "a bar was shown"
    assert said.count(HIDDEN) == said.count(SHOWN)
    assert said.rfind(SHOWN) > said.rfind(HIDDEN)
    lines = screen(said[said.index(HIDDEN) :], width)
    assert not [line for line in lines if "0:00:" in line or "━" in line], "no bar is left"
    text = " ".join(" ".join(lines).split())
    assert "Training data: accuracy" in text
    assert "Report: r/report.html (beside it: audit.json, samples.csv)" in text


def test_ctrl_c_takes_the_bar_away_and_says_what_is_kept(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said, code = in_terminal(*scan_of(digits), "--batch-size", "1", "--out", "r", until=r"[1-9]\d*/1300")
    assert code == 130
    assert said.rfind(SHOWN) > said.rfind(HIDDEN)
    assert "\rinterrupted; what was measured is saved in r/.unfinished (" in said
    shown = STYLE.sub("", said[said.rfind(SHOWN) :])
    assert "━" not in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("arguments", [("check",), ("report",), ("diff",), ("export",)])
@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(
    arguments: tuple[str, ...], width: int, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(audit.parent)
    more = {"check": ("--fail-on", "risk>=high"), "diff": (audit.name,)}.get(arguments[0], ())
    said, code = in_terminal(*arguments, audit.name, *more, width=width)
    assert code == (1 if arguments == ("check",) else 0), said
    assert max(cell_len(STYLE.sub("", line)) for line in said.splitlines()) <= width


def piped(*arguments: str, python: str = sys.executable, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shlex.split(python), "-m", "cohaudit", *arguments],
        capture_output=True,
        text=True,
        env=environment(**more),
    )


def test_a_log_has_no_control_characters_no_bars_and_no_spaces_at_the_ends(
    digits: Path, tmp_path: Path
) -> None:
    scan = ("scan", str(digits / "model.safetensors"), *COUNT, "--out", str(tmp_path / "r"))
    found = piped(*scan)
    for text in (found.stdout, found.stderr):
        assert not {c for c in text if not c.isprintable()} - {"\n"}
        assert [line for line in text.splitlines() if line.endswith(" ")] == []
    assert len(found.stderr.splitlines()) <= 5
    assert "measure the gradients: 60 samples" in found.stderr


def test_colors_can_be_forced_into_a_log_and_bars_cannot(digits: Path, tmp_path: Path) -> None:
    scan = ("scan", str(digits / "model.safetensors"), *COUNT, "--out", str(tmp_path / "r"))
    found = piped(*scan, python=warm_python(), FORCE_COLOR="1")
    assert STYLE.search(found.stdout)
    assert "\x1b" not in found.stderr


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=["no color", "dumb", "color"])
def test_colors_are_for_terminals_that_show_them(more: dict[str, str], audit: Path) -> None:
    said, _ = in_terminal("check", str(audit), "--fail-on", "risk>=high", **more)
    colored = re.search(r"\x1b\[[0-9;]*3[1-7]", said) is not None
    assert colored == (not more)
    if more.get("TERM") == "dumb":
        assert "\x1b" not in said


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--bacth",), "No such option '--bacth'"),
        (("scna",), "No such command 'scna'"),
        (("scan",), "Missing argument 'CHECKPOINT...'"),
        (("scan", "m.pt", "--batch-size", "x"), "'x' is not a valid integer"),
        (("scan", "m.pt", "--batch-size", "0"), "--batch-size: found 0"),
        (("export", "a.json", "--format", "doc"), "'doc' is not one of"),
    ],
)
def test_wrong_usage_is_told_like_any_other_error(arguments: tuple[str, ...], found: str) -> None:
    result = piped(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    first, *_, last = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert found in first
    assert last.startswith("  → ")


def test_without_a_command_there_is_the_help() -> None:
    result = piped()
    assert "Usage:" in result.stdout + result.stderr
    assert "error:" not in result.stderr


def test_signals_are_as_they_were(digits: Path, tmp_path: Path) -> None:
    from support.scanning import scan

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert scan(digits / "model.safetensors", *COUNT, "--out", tmp_path / "r").exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
