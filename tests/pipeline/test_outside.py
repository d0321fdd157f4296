"""The stage that predicts labels from the raw data: batches, features, and reasons for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import cohaudit
from cohaudit.analysis.expected_score import expected_accuracy
from cohaudit.errors import DataError
from cohaudit.pipeline import outside
from cohaudit.results import Audit, Risk, Skipped

LABELS = torch.arange(60) % 3
ROWS = torch.eye(3)[LABELS] + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))


def network(columns: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(columns, 8), nn.ReLU(), nn.Linear(8, 3))


def audit(model: nn.Module, inputs: torch.Tensor, **settings: Any) -> Audit:
    return cohaudit.scan(model, TensorDataset(inputs, LABELS), bootstrap=20, **settings)


def reasons(found: Audit) -> list[str]:
    return [part.reason for part in found.skipped if part.name == outside.NAME]


def test_a_table_is_predicted_by_trees_and_the_same_in_any_batches() -> None:
    found = audit(network(), ROWS)
    (prediction,) = found.outside
    assert "3 input columns" in prediction.name
    assert prediction.accuracy >= 0.95
    assert audit(network(), ROWS, batch_size=7).outside == found.outside
    assert reasons(found) == []


def test_texts_are_predicted_by_their_tokens() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.embed(tokens).mean(1))
            return out

    texts = torch.randint(5, 20, (60, 6), generator=torch.Generator().manual_seed(1))
    texts[:, 2] = LABELS
    (prediction,) = audit(Bag(), texts, batch_size=7).outside
    assert "TF-IDF" in prediction.name
    assert prediction.accuracy >= 0.9


def test_images_are_predicted_by_descriptors() -> None:
    images = 0.1 * torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    for place, label in enumerate(LABELS.tolist()):
        images[place, 0, 2 * label + 1] += 1
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    (prediction,) = audit(model, images, batch_size=7).outside
    assert "patches" in prediction.name
    assert prediction.accuracy >= 0.9


def test_features_of_the_user_are_one_more_view_and_follow_the_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = np.eye(3)[LABELS.numpy()] + 0.1 * rng.standard_normal((60, 3))
    np.save(tmp_path / "emb.npy", features)
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
    found = audit(network(), noise, features=tmp_path / "emb.npy", limit=30)
    of_features, of_noise = found.outside
    assert "emb.npy" in of_features.name
    assert of_features.accuracy >= 0.95 > of_noise.accuracy


def test_features_that_do_not_fit_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    np.save(tmp_path / "emb.npy", np.ones((59, 3)))
    with pytest.raises(DataError, match="59 rows for 60 samples"):
        audit(network(), ROWS, features=tmp_path / "emb.npy")


def test_it_can_be_switched_off() -> None:
    found = audit(network(), ROWS, outside=False)
    assert found.outside == ()
    assert reasons(found) == ["switched off: --no-outside"]


def test_inputs_of_no_known_kind_are_skipped_with_the_reason() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
    signals = torch.randn(60, 1, 40, generator=torch.Generator().manual_seed(4))
    found = audit(model, signals)
    assert found.outside == ()
    assert any("[1, 40]" in reason for reason in reasons(found))


def test_data_too_large_for_memory_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "MAX_NUMBERS", 179)
    found = audit(network(), ROWS)
    assert found.outside == ()
    assert any("--limit" in reason for reason in reasons(found))
    assert all(isinstance(part, Skipped) for part in found.skipped)


def test_the_flatness_is_measured_before_the_verdict_and_counts_in_it() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ROWS), LABELS).backward()
        optimizer.step()
    plain, flat = (audit(model.eval(), ROWS, audits=(name,)) for name in ("none", "flatness"))
    measured = flat.audits.flatness
    assert isinstance(plain.risk, Risk)
    assert isinstance(flat.risk, Risk)
    assert not isinstance(measured, Skipped)
    support, correction = flat.risk.terms
    assert flat.risk.expected.value == expected_accuracy(support.measured, outside=True, flatness=measured)
    assert "stay with noise in the weights" in correction.reason
    assert plain.risk.terms[0] == support
    assert plain.risk.expected != flat.risk.expected
