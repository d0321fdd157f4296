"""What would end the process with an exit code of its own: raised, or without effect on the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cohaudit.errors import BAD_INPUT
from cohaudit.untrusted.code import user_code_error
from cohaudit.untrusted.exits import CalledExit, holding_exits

HELD = "import atexit, os, sys, threading\nfrom cohaudit.untrusted.exits import holding_exits, settle\n"


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HELD + code], capture_output=True, text=True, timeout=60)


def test_the_call_is_attributed_to_the_code_that_made_it() -> None:
    before = os._exit
    with pytest.raises(CalledExit) as caught, holding_exits():
        os._exit(0)
    assert os._exit is before
    error = user_code_error(caught.value)
    assert error is not None
    assert error.where.startswith("test_exits.py, line ")
    assert "os._exit(0)" in error.found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_ends_as_it_wants() -> None:
    with holding_exits():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_thread_that_ends_the_program_fails_it() -> None:
    result = ended(
        "with holding_exits():\n  t = threading.Thread(target=lambda: os._exit(0))\n  t.start()\n  t.join()"
    )
    assert result.returncode == BAD_INPUT
    assert result.stderr == "error: a thread ended the program: it called os._exit(0)\n"


@pytest.mark.parametrize(
    "late",
    [
        "with holding_exits():\n  atexit.register(os._exit, 0)",
        "atexit.register(lambda: os._exit(0))",
        "atexit.register(lambda: os.execl('/bin/true', 'true'))",
    ],
)
def test_what_runs_at_the_end_does_not_turn_a_failure_into_a_success(late: str) -> None:
    if "execl" in late and not Path("/bin/true").exists():
        pytest.skip("needs /bin/true")
    assert ended(f"{late}\nsettle(1)\nsys.exit(1)").returncode == 1
