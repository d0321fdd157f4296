"""docs/scale.md says what the benchmarks of scans say."""

from __future__ import annotations

from support.pages import ROOT

from benchmarks.docs.scale import PAGE, load

TEXT = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_results() -> None:
    assert {found[2] for found in PAGE.pattern.finditer(TEXT)} == set(PAGE.blocks)
    assert PAGE.rewrite(TEXT, load()) == TEXT, "run python -m benchmarks.docs.scale"
