"""The numbers of docs/explanation.md are those that benchmarks/docs/agreement.py measured."""

from __future__ import annotations

import json

from support.pages import ROOT

PAGE = (ROOT / "docs/explanation.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "benchmarks/results/agreement.json").read_text(encoding="utf-8"))


def test_the_sums_are_those_measured() -> None:
    real, random = (MEASURED["sums"][name][-1] for name in ("real", "random"))
    assert f"{real:,.0f} times one gradient" in PAGE
    assert f"dealt out at random, {random:,.0f} times" in PAGE
    assert f"= {real / 1300:.0f} with true labels, {random / 1300:.2f} with random ones" in PAGE


def test_the_neighbors_are_those_drawn() -> None:
    right, wrong = MEASURED["neighbors"]
    assert (right["given"], wrong["given"], wrong["true"]) == (6, 6, 1)
    cosines = [cosine for *_, cosine in right["neighbors"]]
    assert f"with cosines of {min(cosines):.2f} to {max(cosines):.2f}" in PAGE
    against = [label for _, label, cosine in wrong["neighbors"] if cosine < 0]
    assert against == [1] * 6
    assert "Six ones pull against" in PAGE


def test_the_scores_are_those_measured() -> None:
    said = {name: f"{value:.3f}" for name, value in MEASURED["auroc"].items()}
    for name in ("loss", "agreement", "support"):
        assert said[name] in PAGE
    assert f"{MEASURED['auroc']['suspicion']:.4f}" in PAGE
