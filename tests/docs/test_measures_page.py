"""The constants that docs/measures.md quotes for the suspicion are those of the modules that it names."""

from __future__ import annotations

import re
from dataclasses import astuple, is_dataclass
from importlib import import_module

import pytest
from support.pages import ROOT

PAGE = (ROOT / "docs/measures.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z_]+)`[^|]*\| ([^|]+) \| `(cohaudit/[\w/]+)\.py` \|$", re.MULTILINE)
CONSTANTS = ROW.findall(PAGE)


def flat(value: object) -> list[float]:
    """Return the numbers of a constant: of a number, of a tuple, or of a dataclass of both."""
    if is_dataclass(value) and not isinstance(value, type):
        value = astuple(value)
    if isinstance(value, tuple):
        return [number for part in value for number in flat(part)]
    assert isinstance(value, int | float)
    return [float(value)]


def test_the_page_has_a_table_of_constants() -> None:
    names = {name for name, _, _ in CONSTANTS}
    assert {"OUTSIDE_WEIGHT", "SUSPICION_POWER", "CALIBRATION", "MIN_DETERMINED"} <= names


@pytest.mark.parametrize(("name", "said", "path"), CONSTANTS, ids=[name for name, _, _ in CONSTANTS])
def test_a_constant_has_the_value_that_the_page_says(name: str, said: str, path: str) -> None:
    value = getattr(import_module(path.replace("/", ".")), name)
    assert [float(number.replace("\u2212", "-")) for number in said.split(", ")] == flat(value)
