"""`cohaudit scan` with settings or an output folder that cannot be used: one message, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_scans import Make, appended, assert_refused, cuda, nowhere, options, out, unwritable

CASES: dict[str, tuple[Make, list[str]]] = {
    # configuration and options
    "unknown key": (
        appended("cohaudit.toml", "bacth_size = 3\n"),
        ["cohaudit.toml: bacth_size", "did you mean batch_size"],
    ),
    "broken TOML": (
        appended("cohaudit.toml", "limit = = 3\n"),
        ["cohaudit.toml", "is not valid TOML", "line 6", "correct that line"],
    ),
    "wrong type in the file": (
        appended("cohaudit.toml", 'limit = "all"\n'),
        ["cohaudit.toml: limit", "found 'all', a text", "give a whole number of at least 0"],
    ),
    "value out of range": (options("--confidence", 1.5), ["--confidence", "1.5", "strictly between 0 and 1"]),
    "value that is no number": (options("--limit", "many"), ["--limit", "'many' is not a valid integer"]),
    "unknown option": (options("--bacth-size", 3), ["--bacth-size", "--batch-size"]),
    "missing configuration": (options("--config", "no.toml"), ["no.toml", "cannot be read", "name a file"]),
    "unknown metric in a gate": (
        options("--fail-on", "riks>=high"),
        ["'riks>=high'", "no metric 'riks'", "did you mean risk"],
    ),
    "nonsense as a gate": (options("--fail-on", "too bad"), ["--fail-on", "'too bad'", "risk>=high"]),
    "no CUDA here": (cuda, ["--device cuda", "no cuda device on this machine", "cpu"]),
    "too few GPUs": (options("--device", "cuda:99"), ["--device cuda:99", "this machine", "use "]),
    "unknown device": (options("--device", "gpu"), ["--device gpu", "unknown device", "use auto, cpu, cuda"]),
    # the output
    "file as --out": (out(lambda folder: folder / "net.py"), ["--out", "net.py is a file", "another folder"]),
    "--out below a file": (
        out(lambda folder: folder / "net.py" / "report"),
        ["--out", "net.py is a file", "another folder"],
    ),
    "--out where nothing may be written": (
        out(unwritable),
        ["--out", "locked has no write permission", "name a folder with write permission"],
    ),
    "--out where nothing can be made": (
        out(nowhere),
        ["--out /proc", "cannot be written", "write permission"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_setting_is_one_message_and_nothing_written(case: str, tmp_path: Path) -> None:
    make, fragments = CASES[case]
    assert_refused(make, fragments, tmp_path)
