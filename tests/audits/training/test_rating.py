"""Which checkpoint is as good as the best: equal ones, noise, and a run whose learning rate falls to 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cohaudit.analysis.outside_views import predict_from_columns
from cohaudit.audits.training.rating import (
    FALSE_LEADS,
    LabelBelief,
    believe,
    latest_as_good,
    standard_errors,
)


def test_without_trust_the_true_labels_count_alone() -> None:
    belief = LabelBelief(np.full((3, 2), 0.5), np.array([[1.0, 0.0]] * 3), 0.25)
    assert belief.ratings(np.array([[0, 1, 1]])) == pytest.approx(np.array([[0.875, 0.125, 0.125]]))


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_samples_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratings = rng.random((4, 30))
    assert latest_as_good(ratings[:, rng.permutation(30)]) == latest_as_good(ratings)


@given(st.integers(2, 6), st.integers(1, 20))
def test_of_equal_checkpoints_the_last_is_taken(checkpoints: int, samples: int) -> None:
    one = np.random.default_rng(samples).random(samples)
    assert latest_as_good(np.tile(one, (checkpoints, 1))) == checkpoints - 1


@pytest.mark.parametrize("checkpoints", [2, 8])
def test_of_checkpoints_that_differ_by_noise_alone_the_last_is_taken(checkpoints: int) -> None:
    rng = np.random.default_rng(0)
    runs = [(rng.random((checkpoints, 300)) < 0.7).astype(float) for _ in range(400)]
    kept = [latest_as_good(run) == checkpoints - 1 for run in runs]
    assert np.mean(kept) >= 1 - FALSE_LEADS


def test_of_more_checkpoints_the_best_has_to_lead_by_more() -> None:
    # two: the normal quantile of 97.5%; ten: Tukey's table, 4.474 / √2
    assert standard_errors(2) == pytest.approx(1.960, abs=1e-3)
    assert standard_errors(10) == pytest.approx(3.164, abs=1e-3)


def test_a_checkpoint_that_is_clearly_better_is_found() -> None:
    rng = np.random.default_rng(0)
    right = np.array([0.5, 0.9, 0.7])[:, None]
    assert latest_as_good((rng.random((3, 500)) < right).astype(float)) == 1


def test_a_wrong_label_is_not_believed_where_the_classes_are_clear() -> None:
    truth = np.arange(300) % 3
    given = np.where(np.arange(300) % 10 == 0, (truth + 1) % 3, truth)
    belief = believe([np.where(np.eye(3)[truth] > 0, 0.98, 0.01)], given)
    rows = np.arange(300)
    wrong = given != truth
    assert (belief.true_label[rows, truth][wrong] > 0.5).all()
    assert (belief.true_label[rows, given][~wrong] > 0.9).all()
    assert belief.true_label.sum(1) == pytest.approx(np.ones(300))
    assert belief.trust == pytest.approx(0.9)


def test_when_the_rate_falls_and_the_network_still_learns_the_last_is_kept() -> None:
    """Memorizing raises training accuracy while accuracy on new data rises too: no reason to stop."""
    torch.manual_seed(0)
    x = torch.randn(900, 24)
    truth = (x @ torch.randn(24, 4) + 0.6 * torch.sin(3 * x) @ torch.randn(24, 4)).argmax(1)
    flipped = torch.rand(600) < 0.2
    y = torch.where(flipped, (truth[:600] + torch.randint(1, 4, (600,))) % 4, truth[:600])
    model = torch.nn.Sequential(
        torch.nn.Linear(24, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Linear(64, 4)
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9, weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12 * 15)
    predicted, right = [], []
    for epoch in range(12):
        model.train()
        for batch in torch.randperm(600).split(40):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:600][batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
        if epoch % 2:
            model.eval()
            answers = model(x).argmax(1)
            predicted.append(answers[:600].numpy())
            right.append((answers[600:] == truth[600:]).float().mean().item())
    outside = predict_from_columns(x[:600].numpy(), y.numpy(), 4, 0)
    taken = latest_as_good(believe([outside.probability], y.numpy()).ratings(np.stack(predicted)))
    assert max(right) - right[taken] <= 0.02, (right, taken)
