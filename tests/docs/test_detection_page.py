"""docs/detection.md says what benchmarks/results/verdicts.json says, and its tables count as they say."""

from __future__ import annotations

import re

import pytest
from support.pages import ROOT

from benchmarks.docs import verdicts as page_of_verdicts
from benchmarks.docs.verdict_cells import Verdicts, by_family
from benchmarks.docs.verdict_sentences import answer, limits
from benchmarks.docs.verdict_tables import data, figures, honesty, methods, real_noise, reviews
from benchmarks.shared.results import Row, read_rows
from benchmarks.verdicts.tables import FOLDS, KNN, LOSS

PAGE = (ROOT / "docs/detection.md").read_text(encoding="utf-8")
OURS = "cohaudit"


@pytest.fixture(scope="module")
def saved() -> Verdicts:
    return Verdicts(read_rows(page_of_verdicts.RESULTS))


def test_the_page_is_what_was_measured(saved: Verdicts) -> None:
    assert page_of_verdicts.PAGE.rewrite(PAGE, saved) == PAGE, "run python -m benchmarks.docs.verdicts"


def test_the_page_has_every_block_once() -> None:
    assert sorted(name for _, name, *_ in page_of_verdicts.PAGE.pattern.findall(PAGE)) == sorted(
        page_of_verdicts.PAGE.blocks
    )
    assert PAGE.count("<!--") == 2 * len(page_of_verdicts.PAGE.blocks)


def test_the_readme_claims_no_more_than_was_measured(saved: Verdicts) -> None:
    assert "better on average than loss, nearest neighbors, and cleanlab" in " ".join(
        (ROOT / "README.md").read_text(encoding="utf-8").split()
    )
    assert max(saved.lead(name, OURS) for name in (LOSS, KNN, FOLDS)) < -0.01
    real = saved.of(OURS).query("kind == 'real'")
    assert real["told"].mean() < 0.5, "seldom listed"


def cell(dataset: str, kind: str, family: str, auroc: dict[str, float], **ours: object) -> list[Row]:
    """Return the rows of a checkpoint on which each method has an AUROC, and cohaudit more figures."""
    about = {
        "dataset": dataset,
        "noise": "majority" if kind == "real" else "10 % uniform",
        "stage": "early",
        "model": "MLP",
        "seed": 0,
        "kind": kind,
        "samples": 1000,
        "share_true": 0.1,
    }
    known = {
        "suspects": 0,
        "claimed": None,
        "precision": None,
        "recall": 0.0,
        "told": False,
        "share_lower": 0.0,
        "share_upper": 0.2,
        "reviewed_suspects": 0,
        "reviewed_claimed": None,
        "reviewed_precision": None,
        "reviewed_error": 0.02,
        "reviewed_lower": 0.05,
        "reviewed_upper": 0.08,
    }
    variants = {name: known | ours | {"left_out": family} for name in auroc if name.startswith(OURS)}
    return [
        about | {"method": name, "auroc": value, "ap": value / 2, "left_out": None} | variants.get(name, {})
        for name, value in auroc.items()
    ]


def every(ours: float, others: float) -> dict[str, float]:
    variants = (OURS, "cohaudit, no outside predictions", "cohaudit, cross-fit")
    return dict.fromkeys(variants, ours) | dict.fromkeys((LOSS, KNN, FOLDS), others)


@pytest.fixture
def few() -> Verdicts:
    """Two data sets of one family, one of another, and clouds; a peer that saw only the second."""
    listed = {"told": True, "suspects": 40, "claimed": 0.9, "precision": 0.8, "recall": 0.5}
    rows = cell("a", "planted", "letters", every(0.9, 0.8), **listed)
    rows += cell("b", "planted", "letters", every(0.7, 0.6) | {"GraNd": 0.8})
    rows += cell("c", "real", "c", every(0.6, 0.7), share_upper=0.05, reviewed_error=0.1)
    rows += cell("clouds 2", "synthetic", "clouds", every(0.5, 0.5))
    return Verdicts(rows)


def row_of(table: str, start: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {start} |"))
    return [text.strip() for text in line.strip("|").split("|")]


def test_every_family_counts_the_same(few: Verdicts) -> None:
    ours = few.scored[few.scored["method"] == OURS]
    # letters 0.8, c 0.6, clouds 0.5
    assert by_family(ours, "auroc") == pytest.approx(1.9 / 3)
    assert row_of(methods(few), f"**{OURS}**")[2:] == [
        "0.700 / 0.350", "0.800 / 0.400", "0.600 / 0.300", "0.500 / 0.250", "0.700 / 0.350", "–", "",
    ]  # fmt: skip


def test_a_method_is_compared_on_the_cells_that_it_was_measured_in(few: Verdicts) -> None:
    assert few.lead("GraNd", OURS) == pytest.approx(0.1)
    row = row_of(methods(few), "GraNd")
    assert row[2:4] == ["0.800 / 0.400 (1 of 3)", "0.800 / 0.400 (1 of 2)"]
    assert row[4:6] == ["–", "–"]
    assert row[-1] == "+0.100"
    # by family: letters −0.1, c +0.1, clouds 0
    assert few.lead(LOSS, OURS) == pytest.approx(0)


def test_claims_are_compared_with_the_truth(few: Verdicts) -> None:
    table = honesty(few)
    assert row_of(table, OURS)[1:] == ["1 of 4", "1", "0%", "0.100", "0.50", "75%"]
    assert row_of(table, "… real")[1:] == ["0 of 1", "0", "–", "–", "–", "0%"]
    after = reviews(few)
    assert row_of(after, "all")[1:6] == ["4", "0.040", "75%", "0.100", "0%"]


def test_counts_are_of_the_cells_of_their_kind(few: Verdicts) -> None:
    table = figures(few)
    behind = "cohaudit, {}: over 0.01 behind the better of loss and kNN"
    assert row_of(table, behind.format("real"))[1] == "1 of 1"
    assert row_of(table, behind.format("planted"))[1] == "0 of 2"
    assert row_of(table, "cohaudit, planted: at least as good as five folds")[1] == "2 of 2"
    assert row_of(real_noise(few), "c, majority")[3:] == [
        "10%", "0.600", "0.600", "0.600", "0.700", "0.700", "0.700",
    ]  # fmt: skip
    assert row_of(data(few), "a; b")[-1] == "2"


def test_sentences_hold_the_figures(few: Verdicts) -> None:
    text = " ".join(answer(few).split())
    assert "of 0.700 (0.350) on real data" in text
    assert "in 1 of 4 checkpoints. Of the 1 lists of 30 and more, 0% claim" in text
    assert "in 75% of the checkpoints, and in 0% of those with real errors" in text
    assert "0 of 1 checkpoints with real errors, and in 1 of 2 with planted ones" in " ".join(
        limits(few).split()
    )
    assert not re.search("keywords|Lost", limits(few)), "what was not measured is not mentioned"


def test_a_block_of_another_name_is_an_error(few: Verdicts) -> None:
    with pytest.raises(KeyError, match="speed"):
        page_of_verdicts.PAGE.rewrite("<!-- verdicts: speed -->\n<!-- end -->", few)
