"""docs/reading.md shows what page, gates and difference say of the ten constructed audits."""

from __future__ import annotations

from support.pages import ROOT
from support.ten_audits import table


def test_the_table_of_ten_audits_is_what_they_say() -> None:
    assert "\n".join(table()) in (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
