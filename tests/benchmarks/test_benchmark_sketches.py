"""The study of sketches: what it calls exact is exact, and data that is absent costs only its own rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.gradients import sketches, trained

DIGITS = "digits perceptron"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick = replace(trained.NETWORKS[DIGITS], samples=300, epochs=3)
    monkeypatch.setitem(trained.NETWORKS, DIGITS, quick)
    monkeypatch.setattr(trained, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(sketches, "RESULTS", tmp_path / "results" / "sketches.json")
    monkeypatch.setattr(sketches, "SIZES", (64, 30_000))
    monkeypatch.setattr(sketches, "SEEDS", (0,))


def test_exact_cosines_are_those_of_autograd() -> None:
    subject = trained.trained(DIGITS, Path())
    rows = []
    for x, y in zip(subject.data.inputs[:5].split(1), subject.data.labels[:5].split(1), strict=True):
        loss = F.cross_entropy(subject.model(x), y)
        rows.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*subject.model.parameters()])])
        )
    whole = sketches.whole_gradients(subject)
    found = sketches._cosines(sketches._exact(whole, False))[:5, :5]
    torch.testing.assert_close(found, sketches._cosines(torch.stack(rows)), rtol=1e-4, atol=1e-4)


def test_the_study_writes_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert sketches.main(["--data-dir", "nowhere", "--networks", DIGITS, "fashion CNN"]) == 0
    rows = json.loads(sketches.RESULTS.read_text("utf-8"))
    assert {row["network"] for row in rows} == {DIGITS}
    found = {(r["method"], r["size"]): r for r in rows if r["kind"] == "gradients" and not r["equal_layers"]}
    exact, kept, short = found["exact", None], found["tensor sketch", 30_000], found["tensor sketch", 64]
    assert kept["cosine_error"] < 1e-5 < short["cosine_error"] < 0.5
    assert kept["auroc"] == pytest.approx(exact["auroc"], abs=1e-3)
    assert "fashion CNN: left out" in capsys.readouterr().out


def test_networks_are_trained_once() -> None:
    first = trained.trained(DIGITS, Path())
    (kept,) = trained.CACHE.iterdir()
    before = kept.stat().st_mtime_ns
    again = trained.trained(DIGITS, Path())
    assert kept.stat().st_mtime_ns == before
    assert again.accuracy == first.accuracy
    assert 0.15 < first.data.wrong.float().mean() < 0.25
    flipped = first.data.labels != trained.digits()[1][:300]
    np.testing.assert_array_equal(flipped, first.data.wrong)
