"""docs/cleaning.md has the figures of the loop that its benchmark measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.commands.loop import RESULTS, after_changes, page_lines
from benchmarks.shared.results import read_rows

PAGE = Path(__file__).parents[2] / "docs" / "cleaning.md"


def test_the_page_has_the_figures_that_were_measured() -> None:
    rows = read_rows(RESULTS)
    assert rows
    assert "\n".join(page_lines(rows)) in PAGE.read_text("utf-8")


def test_suspicions_and_share_agree_in_every_scan() -> None:
    rows = after_changes(read_rows(RESULTS))
    assert rows
    assert all(abs(row["suspicion"] - row["share"]) < 1e-6 for row in rows)
