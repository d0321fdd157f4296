"""Cells that a spreadsheet would compute: harmless, and the same again when they are read."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.results.spreadsheets import harmless, original
from cohaudit.results.tables import table_to_csv


@given(st.text(st.sampled_from("'=+-@\t\r1a.e "), max_size=6))
def test_a_cell_comes_back(cell: str) -> None:
    assert original(str(harmless(cell))) == cell


@pytest.mark.parametrize("cell", ["=1+2", "+a", "-a", "@SUM(A1)", "\t=1", "\r=1", "'=1", "-1+1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert str(harmless(cell)).startswith("'")


@pytest.mark.parametrize("cell", ["-1", "+1.5e-3", "a=1", "", "'a", 5, None])
def test_other_cells_stay(cell: object) -> None:
    assert harmless(cell) is cell


def test_a_table_as_a_file() -> None:
    table = pd.DataFrame({"id": ["=1", "a"], "x": [-1.5, 2.0], "=head": [1, 2]})
    rows = list(csv.reader(io.StringIO(table_to_csv(table))))
    assert rows == [["id", "x", "'=head"], ["'=1", "-1.5", "1"], ["a", "2.0", "2"]]
