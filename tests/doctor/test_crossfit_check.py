"""`cohaudit doctor --crossfit`: can copies be trained, and how long will that take?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import FIXTURES

from cohaudit.cli import main

NET = FIXTURES / "digits" / "net.py"
SMALL = ("--limit", "120", "--batch-size", "40", "--sketch-size", "64", "--feature-size", "32")


def findings(*options: str) -> dict[str, dict[str, Any]]:
    """Return check → finding for the digits fixture."""
    checkpoint = str(FIXTURES / "digits" / "model.safetensors")
    result = CliRunner().invoke(main, ["doctor", checkpoint, "--json", *SMALL, *options])
    return {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_the_time_of_the_copies_is_in_the_forecast() -> None:
    found = findings("--crossfit", "3", "--crossfit-epochs", "20000")
    crossfit = found["cross-fit"]
    assert crossfit["status"] == "ok"
    assert crossfit["figures"]["folds"] == 3
    assert "20000 epochs (as set); about " in crossfit["found"]
    # 3 copies · 20,000 epochs · 10 steps: minutes at the least, where the rest of the scan takes seconds
    assert crossfit["figures"]["seconds"] > 60
    rest = found["forecast"]["figures"]["seconds"] - crossfit["figures"]["seconds"]
    assert 0 < rest < crossfit["figures"]["seconds"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--crossfit", "121"), "--crossfit 121: the data has 120 different inputs, fewer than folds"),
        (("--crossfit", "3", "--crossfit-recipe", f"{NET}:absent"), "net.py has no 'absent'"),
    ],
)
def test_what_would_stop_a_scan_fails(options: tuple[str, ...], words: str) -> None:
    found = findings(*options)
    assert found["cross-fit"]["status"] == "failed"
    assert words in found["cross-fit"]["found"]
    assert found["forecast"]["status"] == "ok", "the rest is forecast all the same"


def test_without_a_cross_fit_it_is_not_checked() -> None:
    assert "cross-fit" not in findings()
