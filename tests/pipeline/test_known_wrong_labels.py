"""Scans of small tables whose wrong labels are known: how many are told, which are listed, in which order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

import cohaudit
from cohaudit.results import Audit, WrongLabels

Integers = NDArray[np.int64]
Float32 = NDArray[np.float32]


def scan_memorized(x: Float32, labels: Integers) -> Audit:
    """Return the audit of a perceptron that was trained until it fits wrong labels too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return cohaudit.scan(model, (x, labels), bootstrap=20)


@pytest.mark.parametrize("share", [0.1, 0.03])
def test_wrong_labels_of_separated_clouds_are_listed_and_counted(share: float) -> None:
    generator = np.random.default_rng(1)
    true = np.arange(800) % 2
    x = (generator.normal(size=(800, 8)) + 6 * np.eye(8)[true]).astype(np.float32)
    wrong = np.zeros(800, dtype=bool)
    wrong[generator.choice(800, round(share * 800), replace=False)] = True
    audit = scan_memorized(x, np.where(wrong, 1 - true, true))
    table, found = audit.samples, audit.wrong_labels
    assert isinstance(found, WrongLabels)
    assert found.told
    # layers bend to wrong labels: as many as a fifth of them pass for labels of hard samples
    assert found.share.low <= share <= 1.2 * found.share.high
    assert found.share.value == pytest.approx(share, rel=0.25)
    assert table["suspect"][wrong].mean() >= 0.95
    assert wrong[table["suspect"]].mean() >= 0.95
    assert table["suspicion"].sum() == pytest.approx(wrong.sum(), rel=0.25)
    assert sorted(table["rank"]) == list(range(1, 801))
    assert table["suspicion"][table["rank"].to_numpy().argsort()].is_monotonic_decreasing
    assert table["rank"][wrong].median() <= wrong.sum()
    assert f"suspects: {table['suspect'].sum()} " in str(audit)


def test_lost_positives_lead_the_order_of_one_class_against_the_rest() -> None:
    generator = np.random.default_rng(2)
    cloud = np.arange(1000) % 10
    x = (generator.normal(size=(1000, 10)) + 5 * np.eye(10)[cloud]).astype(np.float32)
    true = (cloud == 3).astype(np.int64)
    labels = true.copy()
    lost = generator.choice(np.flatnonzero(true), 30, replace=False)
    labels[lost] = 0
    audit = scan_memorized(x, labels)
    table = audit.samples
    assert isinstance(audit.wrong_labels, WrongLabels)
    assert (table["rank"].to_numpy()[lost] <= 30).mean() >= 0.9
    assert table["rank"].to_numpy()[lost].max() <= 100, "all of them are of the class's hundred samples"
    assert (table["suggested"].to_numpy()[lost] == "1").mean() >= 0.8
    assert audit.wrong_labels.share.high >= 0.03


def test_overlapping_clouds_without_a_wrong_label_list_nobody() -> None:
    generator = np.random.default_rng(3)
    true = np.arange(600) % 2
    x = (generator.normal(size=(600, 8)) + 1.2 * np.eye(8)[true]).astype(np.float32)
    audit = scan_memorized(x, true)
    found = audit.wrong_labels
    assert isinstance(found, WrongLabels)
    assert not found.told
    assert found.share.low == 0
    assert not audit.samples["suspect"].any()
    assert any("cannot be told" in notice for notice in audit.notices)
    assert "suspects:" not in str(audit)
