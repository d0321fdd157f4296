"""Runs and peers of the detection benchmarks: data as wrong as it says, scores that are what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.detection import detectors, runs
from benchmarks.shared import label_noise, recipes, training
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
def test_a_case_is_trained_once_and_read_from_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "MLP, SGD"
    monkeypatch.setattr(runs, "CACHE", tmp_path)
    monkeypatch.setitem(recipes.RECIPES, name, replace(recipes.RECIPES[name], epochs=4))
    case = runs.Case("digits", "20 %", name, 0)
    runs.train_case(case, NOWHERE)
    written = {file.name: file.stat().st_mtime_ns for file in case.folder.iterdir()}
    runs.train_case(case, NOWHERE)
    assert written == {file.name: file.stat().st_mtime_ns for file in case.folder.iterdir()}
    run = runs.Run(case, NOWHERE)
    best = run.epochs["best"]
    assert run.test_accuracy[best - 1] == max(run.test_accuracy)
    measured = training.accuracy(run.checkpoint(best), run.data.test, run.data.test_labels)
    assert measured == pytest.approx(run.test_accuracy[best - 1])
    assert run.out_of_fold.shape == (len(run.data.labels), 10)
    assert run.out_of_fold.sum(1) == pytest.approx(1, abs=1e-5)
    # networks that never saw a wrong label do not give it
    given = run.out_of_fold[np.arange(len(run.data.labels)), run.data.labels.numpy()]
    assert given[run.data.wrong.numpy()].mean() < given[~run.data.wrong.numpy()].mean() / 2
