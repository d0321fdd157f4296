"""Ctrl-C during `cohaudit scan`: one line, exit code 130, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.bad_scans import copy_of_digits, forward, net
from support.folders import left_behind
from support.scanning import scan

WAIT = """import signal, sys


def wait():
    print('waiting', file=sys.stderr)
    signal.raise_signal(signal.SIGINT)


"""


def waits_in_forward(folder: Path) -> list[Any]:
    """Interrupt the scan in the first forward pass."""
    net(WAIT)(folder)
    return forward("wait()", "return logits")(folder)


INTERRUPTED_IN = {"import": net(WAIT + "wait()\n"), "forward pass": waits_in_forward}
"""Where a scan is interrupted → what makes it interrupt itself there.

tests/pipeline/test_resume.py interrupts a process from outside."""


@pytest.mark.parametrize("where", INTERRUPTED_IN)
def test_an_interrupt_is_one_line_and_nothing_written(where: str, tmp_path: Path) -> None:
    checkpoint, *_ = INTERRUPTED_IN[where](copy_of_digits(tmp_path))
    before = left_behind(tmp_path)
    result = scan(checkpoint, "--out", tmp_path / "report")
    *progress, waiting, message = result.stderr.splitlines()
    assert progress[-1].startswith("settings from ")
    assert (waiting, message) == ("waiting", "interrupted")
    assert result.stdout == ""
    assert result.exit_code == 130
    assert left_behind(tmp_path) == before
