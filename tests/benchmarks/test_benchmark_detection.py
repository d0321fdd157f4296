"""The detection benchmark: data as wrong as it says, peers that are what they are called, and a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from benchmarks.detection import comparison, detectors, ranking, runs
from benchmarks.shared import label_noise, recipes
from benchmarks.shared.datasets import CleanData

NOWHERE = Path("nowhere")


def test_as_many_labels_are_flipped_as_it_says_and_no_test_label() -> None:
    for noise, share in (("0 %", 0.0), ("20 %", 0.2), ("40 %", 0.4)):
        data = label_noise.load_noisy("digits", noise, 0, NOWHERE)
        assert data.wrong.double().mean().item() == pytest.approx(share, abs=0.03)
    clean = label_noise.load_noisy("digits", "0 %", 0, NOWHERE)
    assert data.test_labels.equal(clean.test_labels)
    assert data.truth.equal(clean.labels)
    assert label_noise.load_noisy("digits", "40 %", 0, NOWHERE).labels.equal(data.labels), (
        "the same on every call"
    )


def test_labels_flipped_by_class_stay_within_their_group() -> None:
    truth = torch.arange(6).repeat(500)
    clean = CleanData(truth, truth, truth, truth, 6, {}, ((0, 2, 4), (1, 3)))
    found = label_noise.flip_within_groups(clean, 0.3, torch.Generator().manual_seed(0))
    moved = found != truth
    assert moved[truth != 5].double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not moved[truth == 5].any()
    follows = {0: 2, 2: 4, 4: 0, 1: 3, 3: 1}
    assert all(follows[t] == g for t, g in zip(truth[moved].tolist(), found[moved].tolist(), strict=True))


def test_of_equal_samples_with_two_labels_one_can_be_fitted() -> None:
    x, y = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([0, 0, 1, 1])
    assert runs.largest_fit(label_noise.NoisyData(x, y, y, x, y, 2)) == 3 / 4


def test_scores_from_logits_are_what_they_are_called() -> None:
    logits, labels = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 4
    found = detectors.from_logits(logits, labels)
    p = logits.double().softmax(1)
    for i in range(0, 60, 7):
        y = int(labels[i])
        others = [c for c in range(4) if c != y]
        assert found["loss"][i] == pytest.approx(-float(p[i, y].log()))
        assert found["margin"][i] == pytest.approx(float(logits[i, others].max() - logits[i, y]), rel=1e-5)
        assert found["entropy"][i] == pytest.approx(-float((p[i] * p[i].log()).sum()))
        assert found["EL2N"][i] == pytest.approx(float((p[i] - F.one_hot(labels[i], 4)).norm()))
        assert found["cleanlab self confidence"][i] == pytest.approx(1 - float(p[i, y]))
        margin = (float(p[i, y] - p[i, others].max()) + 1) / 2
        assert found["cleanlab normalized margin"][i] == pytest.approx(1 - margin)


def test_weight_alignment_is_the_cosine_of_the_last_layers_descent_with_its_weights() -> None:
    torch.manual_seed(0)
    head, h, labels = nn.Linear(5, 3), torch.randn(8, 5), torch.arange(8) % 3
    logits = head(h)
    found = detectors.weight_alignment(logits.detach(), head.bias.detach(), h, head.weight.detach(), labels)
    for i in range(8):
        loss = F.cross_entropy(logits[i : i + 1], labels[i : i + 1])
        (g,) = torch.autograd.grad(loss, head.weight, retain_graph=True)
        expected = -F.cosine_similarity(-g.flatten(), head.weight.detach().flatten(), dim=0)
        assert found[i] == pytest.approx(float(expected), abs=1e-6)


def test_neighbors_are_counted_by_brute_force() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(80, 6)).astype(np.float32), generator.integers(3, size=80)
    found = detectors.nearest(x, y)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in range(0, 80, 9):
        order = [j for j in np.argsort(-(unit @ unit[i])) if j != i]
        for k, score in found.items():
            assert score[i] == pytest.approx(np.mean(y[order[:k]] != y[i]))


def test_trajectories_are_read_as_their_papers_say() -> None:
    labels = torch.tensor([0, 1, 0])
    logits = np.array(
        [[[2, 0], [2, 0], [0, 1]], [[0, 2], [0, 2], [0, 1]], [[2, 0], [0, 2], [0, 1]]], dtype=np.float16
    )
    found = detectors.from_trajectory(logits, labels)
    assert found["AUM"] == pytest.approx([-2 / 3, -2 / 3, 1])
    losses = F.cross_entropy(
        torch.from_numpy(logits.astype(np.float32)).flatten(0, 1), labels.repeat(3), reduction="none"
    )
    assert found["CSL"] == pytest.approx(losses.reshape(3, 3).sum(0).numpy())
    assert found["forgetting"].tolist() == [1, 0, detectors.NEVER_LEARNED]


@pytest.mark.slow
def test_a_case_is_trained_and_judged_once_and_cohaudit_again_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "MLP, SGD"
    monkeypatch.setattr(runs, "CACHE", tmp_path / "cache")
    monkeypatch.setitem(recipes.RECIPES, name, replace(recipes.RECIPES[name], epochs=4))
    case = runs.Case("digits", "20 %", name, 0)
    rows = comparison.judge_case(case, NOWHERE, False)
    by_stage = {row["stage"] for row in rows}
    assert {"underfit", "best"} <= by_stage
    methods = {row["method"]: row for row in rows if row["stage"] == "best"}
    assert {"cohaudit", "loss", "GraNd", "GWA", "AUM", "CSL", "feature kNN 20"} <= methods.keys()
    assert all(0 <= row["auroc"] <= 1 and 0 <= row["ap"] <= 1 for row in rows)
    assert methods["cohaudit"]["auroc"] > 0.9
    assert {row["family"] for row in rows} == {"single", "trajectory", "refit"}
    few = {"cohaudit, 5 checkpoints", "CSL, 5 checkpoints", "AUM, 5 checkpoints"}
    assert {name: methods[name]["family"] for name in few} == dict.fromkeys(few, "trajectory")
    assert methods["cohaudit, 5 checkpoints"]["auroc"] > 0.9
    assert "precision" in methods["cohaudit, 5 checkpoints"]

    monkeypatch.setattr(comparison, "by_peers", None)
    assert comparison.judge_case(case, NOWHERE, False) == rows
    assert comparison.judge_case(case, NOWHERE, True) == rows
    # judged before anybody was asked about five checkpoints
    kept = case.folder / "rows.json"
    kept.write_text(json.dumps([row for row in rows if row["method"] not in few]), encoding="utf-8")
    assert comparison.judge_case(case, NOWHERE, True) == rows

    results = tmp_path / "results" / "detection.json"
    results.parent.mkdir()
    results.write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setattr(comparison, "RESULTS", results)
    assert comparison.main(["--show"]) == 0
    printed = capsys.readouterr().out
    assert "mean over all cells" in printed
    assert "furthest behind the best other of a cell" in printed
    ranking.draw(rows, results)
    assert results.with_suffix(".svg").stat().st_size > 1000


def test_five_checkpoints_are_the_even_epochs_up_to_the_stage() -> None:
    """A run of 20 epochs, of which the logits of all but the even ones are not even finite."""
    generator = np.random.default_rng(0)
    truth = np.arange(120) % 3
    wrong = np.arange(120) % 10 == 0
    labels = np.where(wrong, (truth + 1) % 3, truth)
    logits = np.full((20, 120, 3), np.nan, dtype=np.float16)
    for epoch in (2, 4, 6, 8, 10):  # the last one has memorized, those before it have not
        logits[epoch - 1] = 8 * np.eye(3)[labels if epoch == 10 else truth]
    data = label_noise.NoisyData(torch.zeros(120, 1), *map(torch.from_numpy, (labels, truth)), None, None, 3)
    case = runs.Case("digits", "20 %", "MLP, SGD", 0)
    run = SimpleNamespace(
        case=case, data=data, logits=logits, epochs={"best": 10}, even=lambda stage: runs.even_epochs(10),
        train_accuracy=[1.0] * 20, test_accuracy=[1.0] * 20,
    )  # fmt: skip
    view = SimpleNamespace(rows=generator.normal(size=(120, 4)).astype(np.float32))
    cold = SimpleNamespace(views=[view], probability=np.eye(3)[labels])
    found = {row["method"]: row["auroc"] for row in comparison.by_few(run, "best", cold)}
    assert found == {f"{name}, 5 checkpoints": 1 for name in ("cohaudit", "CSL", "AUM")}


def test_the_tables_take_five_checkpoints_for_no_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    cell = {
        "data": "digits",
        "noise": "20 %",
        "model": "MLP, SGD",
        "stage": "best",
        "ap": 0.5,
    } | dict.fromkeys(("wrong", "share", "suspects", "claim", "precision", "recall", "suggested_right"), 0.5)
    figures = [
        ("cohaudit", "single", 0.811), ("loss", "single", 0.722), ("AUM", "trajectory", 0.633),
        ("cleanlab", "refit", 0.744), ("cohaudit, 5 checkpoints", "trajectory", 0.955),
    ]  # fmt: skip
    rows = [
        cell | {"method": name, "family": family, "auroc": auroc, "p_at_errors": 0.5}
        for name, family, auroc in figures
    ]
    ranking.show(rows, Console(width=200))
    methods, cells, *_ = capsys.readouterr().out.split("AUROC by cell")
    assert "0.9550" in methods
    assert "0.633" in cells
    assert "0.955" not in cells
    assert "1.0" in next(line for line in methods.splitlines() if " cohaudit " in line), "the best of one"


def test_a_ranking_without_errors_has_no_figures() -> None:
    assert comparison.ranked(np.arange(3.0), np.zeros(3, bool)) == {
        "auroc": None,
        "ap": None,
        "p_at_errors": None,
    }
    perfect = comparison.ranked(np.array([3.0, 1, 2]), np.array([True, False, False]))
    assert perfect == {"auroc": 1, "ap": 1, "p_at_errors": 1}
