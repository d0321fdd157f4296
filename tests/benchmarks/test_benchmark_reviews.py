"""Simulated reviews: a row is reproduced, and the page of the docs says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.detection.reviews import METHODS, SHARES, calibration_error, make_world, review, scans

ROOT = Path(__file__).parents[2]
ROWS = pd.DataFrame(json.loads((ROOT / "benchmarks" / "results" / "reviews.json").read_text("utf-8")))
PAGE = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")


def test_the_posterior_of_a_world_is_right() -> None:
    worlds = [make_world(0.3, 1.5, 0.5, seed) for seed in range(20)]
    posterior = np.concatenate([world.posterior for world in worlds])
    wrong = np.concatenate([world.wrong for world in worlds])
    assert calibration_error(posterior, wrong) < 0.01


def test_a_saved_row_is_reproduced() -> None:
    (row,) = ROWS.query(
        "share == 0.1 and separation == 4 and hidden == 0 and scan == 'zero' and answers == 50"
        " and method == 'Platt scaling'"
    ).to_dict("records")
    found = []
    for seed in range(row["repeats"]):
        world = make_world(0.1, 4.0, 0.0, seed)
        claims = {name: (probability, evidence) for name, probability, evidence in scans(world, seed)}
        found.append(review("Platt scaling", world.wrong, claims["zero"], 50, seed)["ece"])
    assert np.mean(found) == pytest.approx(row["ece"], abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_page_says_what_was_measured(method: str) -> None:
    own = ROWS[(ROWS["answers"] == 50) & (ROWS["method"] == method)]
    means = own.groupby("share")["ece"].mean()
    cells = " | ".join(f"{means[share]:.3f}" for share in SHARES)
    assert f"| {method} | {cells} | {(own['ece'] <= 0.05).mean():.0%} |" in PAGE


def test_the_page_says_how_often_the_interval_held_and_how_precise_lists_are() -> None:
    own = ROWS[(ROWS["answers"] == 50) & (ROWS["method"] == "cohaudit")]
    assert f"held the truth in {own['covered'].mean():.0%} of the reviews" in PAGE
    assert f"off by {own['precision_error'].mean():.3f}" in PAGE
    none = ROWS[(ROWS["answers"] == 50) & (ROWS["method"] == "no review")]
    assert f"({none['precision_error'].mean():.3f} without a review)" in PAGE
    fewer = ROWS[(ROWS["answers"] == 30) & (ROWS["method"] == "cohaudit")]
    assert (
        f"With 30 answers, the mean error is {fewer['ece'].mean():.3f} instead of {own['ece'].mean():.3f}"
        in PAGE
    )
