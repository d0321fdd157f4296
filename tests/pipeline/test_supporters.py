"""Supporters and opponents of samples, as a scan names them: against whole matrices in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cohaudit.config import Config
from cohaudit.gradients import Source, measure, observe
from cohaudit.pipeline import observations
from cohaudit.pipeline.observations import Observations, compare_gradients, name_neighbors, neighbors_of
from cohaudit.pipeline.scan import options_of
from cohaudit.results.thresholds import WHITENING_RIDGE

SAMPLES = 40
CPU = torch.device("cpu")
SHOWN = np.array([7, 3, 21])


def seen_and_expected() -> tuple[Observations, np.ndarray]:
    """Return what a forward pass sees of a small network, and the whitened cosines of r ⊗ (a₁, a₂)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    inputs = torch.randn(SAMPLES, 5)
    labels = torch.randint(3, (SAMPLES,))
    source = Source(
        load=lambda indices: inputs[list(indices)],
        labels=labels.numpy(),
        ids=[str(i) for i in range(SAMPLES)],
        class_names=["a", "b", "c"],
    )
    forward = observe(model, source, options_of(Config()), CPU, lambda count: None, sums=False).forward
    exact = model.double()
    hidden = torch.tanh(exact[0](inputs.double()))
    residual = F.normalize(torch.softmax(exact[2](hidden), 1) - F.one_hot(labels, 3), dim=1)
    alike = sum(one @ one.T for one in (F.normalize(inputs.double(), dim=1), F.normalize(hidden, dim=1))) / 2
    kernel = (residual @ residual.T) * alike
    inner = kernel @ torch.linalg.inv(kernel + WHITENING_RIDGE * torch.eye(SAMPLES).double())
    lengths = inner.diag().sqrt()
    cosines = (inner / lengths / lengths[:, None]).detach().numpy()
    np.fill_diagonal(cosines, 0)
    return Observations(forward, None, source, SAMPLES, [""] * SAMPLES), cosines


@pytest.mark.parametrize("few", [True, False])
def test_they_are_those_of_the_whole_kernel(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, cosines = seen_and_expected()
    if not few:
        monkeypatch.setattr(observations, "ALL_PAIRS", SAMPLES - 1)
    named = name_neighbors(seen, SHOWN, Config())
    for i in range(SAMPLES):
        supporters, opponents = neighbors_of(named, None, i, 3)
        if not few and i not in SHOWN:
            assert supporters == opponents == []
            continue
        expected = np.argsort(-cosines[i])[:3]
        assert [j for j, _, _ in supporters] == expected.tolist()
        assert np.allclose([c for _, c, _ in supporters], cosines[i, expected], atol=1e-5)
        expected = np.argsort(cosines[i])[:3]
        assert [j for j, _, _ in opponents] == expected.tolist()
        assert np.allclose([c for _, c, _ in opponents], cosines[i, expected], atol=1e-5)


def test_of_many_samples_those_shown_first_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = seen_and_expected()
    monkeypatch.setattr(observations, "ALL_PAIRS", SAMPLES - 1)
    monkeypatch.setattr(observations, "MOST_NAMED", 2)
    named = name_neighbors(seen, SHOWN, Config())
    assert np.flatnonzero((named.supporters.indices >= 0).any(1)).tolist() == sorted(SHOWN[:2])
    # nothing is shown, or no layer gives a representation
    assert name_neighbors(seen, SHOWN[:0], Config()).supporters.of(7, 5) == []


def test_the_support_of_many_samples_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = seen_and_expected()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    measured = measure(model, seen.source, options_of(Config()), CPU, lambda count: None)
    assert compare_gradients(measured, Config(), SAMPLES) is not None
    monkeypatch.setattr(observations, "ALL_PAIRS", SAMPLES - 1)
    assert compare_gradients(measured, Config(), SAMPLES) is None
