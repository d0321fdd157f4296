"""What the page promises of cleaning is what the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cohaudit.report.html.view._actions import CLEANED

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
KEYS = ("data", "noise", "model", "seed")


def test_cleaning_brings_what_is_promised_and_the_page_of_the_docs_says_it() -> None:
    promised = json.loads((RESULTS / "actions.json").read_text(encoding="utf-8"))
    trainings = json.loads((RESULTS / "value.json").read_text(encoding="utf-8"))
    docs = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8")
    parts = []
    for row in promised:
        own = [one for one in trainings if all(one[key] == row[key] for key in KEYS)]

        def mean(name: str, own: list[dict[str, float]] = own) -> float:
            found = [one["accuracy"] for one in own if one["list"] == name]
            return sum(found) / len(found)

        gains = [
            mean(name) - mean("nothing")
            for name in ("cohaudit, dropped", "cohaudit, relabeled", "the wrong ones")
        ]
        parts += [gain / row["promised"] for gain in gains[:2]]
        figures = (row["gap"], row["promised"], *gains)
        assert " | ".join(f"{100 * figure:.1f}" for figure in figures) in docs
    assert len(parts) >= 12
    assert (min(parts), max(parts)) == pytest.approx(CLEANED, abs=0.02)
