"""docs/scale.md says what the benchmarks of scans say."""

from __future__ import annotations

from support.pages import ROOT

from benchmarks.docs.scale import PAGE, load
from cohaudit.analysis.class_cosines import MAX_CLASSES
from cohaudit.analysis.near_duplicates import EXACT_SAMPLES
from cohaudit.arrays.temporary import MEMORY
from cohaudit.pipeline.first_look import LOOKED_AT, WORTH_A_LOOK
from cohaudit.results.thresholds import ALL_PAIRS

TEXT = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_results() -> None:
    assert {found[2] for found in PAGE.pattern.finditer(TEXT)} == set(PAGE.blocks)
    assert PAGE.rewrite(TEXT, load()) == TEXT, "run python -m benchmarks.docs.scale"


def test_the_sizes_are_those_of_the_code() -> None:
    words = " ".join(TEXT.split())
    assert f"answers for {LOOKED_AT} samples, where there are {WORTH_A_LOOK} times as many" in words
    assert f"all pairs of {EXACT_SAMPLES:,} samples at most" in words
    assert f"of {ALL_PAIRS:,} samples at most" in words
    assert f"Arrays of more than {MEMORY // 2**20} MB" in words
    assert f"more than {MAX_CLASSES} classes" in words
