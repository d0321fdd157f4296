"""Progress: lines for logs, bars for terminals, nothing when nobody looks."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cohaudit.pipeline.progress import BarProgress, LineProgress, SilentProgress, progress_on


def test_a_log_says_what_takes_long_and_nothing_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, *[1.0] * 13, 12.34, 20.0, 20.9, 30.0, 31.0, 40.0, 40.1])
    monkeypatch.setattr("cohaudit.pipeline.progress.time.perf_counter", lambda: next(seconds))
    stream = io.StringIO()
    progress = LineProgress(stream)
    with progress.stage("measure the gradients", 1300) as advance:
        for _ in range(13):
            advance(100)
    with progress.stage("judge"):
        pass
    with progress.stage("gather the evidence"):
        pass
    with progress.stage("measure the gradients", 40):
        pass
    assert stream.getvalue().splitlines() == [
        "measure the gradients: 1,300 samples",
        "measure the gradients: done in 12.3 s",
        "gather the evidence: done in 1.0 s",
        "measure the gradients: 40 samples",
    ]


def test_a_failed_stage_is_not_said_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohaudit.pipeline.progress.SLOW_STAGE_SECONDS", 0.0)
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), LineProgress(stream).stage("measure", 7):
        _ = 1 / 0
    assert stream.getvalue() == "measure: 7 samples\n"


@pytest.mark.parametrize("width", [60, 79, 80, 200])
def test_the_time_left_is_shown_at_any_width(width: int) -> None:
    stream = io.StringIO()
    with BarProgress(Console(file=stream, force_terminal=True, width=width)).stage(
        "predict labels from the raw data", 60_000
    ) as advance:
        advance(60_000)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert re.search(r"60000/60000 .*left: 0:00:00", plain)


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    progress = BarProgress(console)
    with progress.stage("outer [bold]", 10) as advance:
        advance(10)
        with progress.stage("inner"):
            pass
    assert "outer [bold]" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "left:" in stream.getvalue()
    left = stream.getvalue().rpartition("\x1b[2K")[2]
    assert "outer" not in left
    assert "inner" not in left
    assert "\x1b[?25h" in stream.getvalue(), "the cursor is visible again"


def test_a_bar_ends_at_its_full_count_however_fast_it_was() -> None:
    stream = io.StringIO()
    with BarProgress(Console(file=stream, force_terminal=True)).stage(
        "measure the gradients", 450
    ) as advance:
        for _ in range(3):
            advance(150)
    assert re.findall(r"\d+/450", stream.getvalue())[-1] == "450/450"


def test_a_bar_is_removed_when_its_stage_fails() -> None:
    stream = io.StringIO()
    progress = BarProgress(Console(file=stream, force_terminal=True))
    with pytest.raises(ZeroDivisionError), progress.stage("judge"):
        _ = 1 / 0
    assert "\x1b[?25h" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_stream_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_on(Console(file=Terminal())), BarProgress)
    assert isinstance(progress_on(Console(file=io.StringIO())), LineProgress)
    assert isinstance(progress_on(Console(file=io.StringIO(), force_terminal=True)), LineProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(Console(file=Terminal())), LineProgress)


def test_a_log_says_now_and_then_how_far_a_stage_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("cohaudit.pipeline.progress.time.perf_counter", lambda: now)
    stream = io.StringIO()
    with LineProgress(stream).stage("measure the gradients", 1000) as advance:
        for _ in range(10):
            now += 9
            advance(100)
    assert stream.getvalue().splitlines() == [
        "measure the gradients: 1,000 samples",
        "measure the gradients: 400 of 1,000 samples, about 54 s left",
        "measure the gradients: 800 of 1,000 samples, about 18 s left",
        "measure the gradients: done in 90.0 s",
    ]


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentProgress().stage("judge", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
