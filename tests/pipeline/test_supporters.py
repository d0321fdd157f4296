"""Supporters and opponents: against plain autograd in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cohaudit.config import Config
from cohaudit.gradients import Source, measure
from cohaudit.pipeline.observations import compare_gradients, neighbors_of
from cohaudit.pipeline.scan import options_of
from cohaudit.results.thresholds import WHITENING_RIDGE


def test_they_are_those_of_whole_gradients_by_autograd() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    inputs = torch.randn(40, 5)
    labels = torch.randint(3, (40,))
    source = Source(
        load=lambda indices: inputs[list(indices)],
        labels=labels.numpy(),
        ids=[str(i) for i in range(40)],
        class_names=["a", "b", "c"],
    )
    config = Config()
    measured = measure(model, source, options_of(config), torch.device("cpu"), lambda count: None)
    support = compare_gradients(measured, np.arange(40), config, 40)

    exact = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    exact.load_state_dict(model.state_dict())
    rows = []
    for x, y in zip(inputs.double(), labels, strict=True):
        found = torch.autograd.grad(F.cross_entropy(exact(x[None]), y[None]), list(exact.parameters()))
        rows.append(torch.cat([one.flatten() for one in found]))
    unit = F.normalize(torch.stack(rows), dim=1)
    metric = torch.linalg.inv(unit.T @ unit + WHITENING_RIDGE * torch.eye(unit.shape[1]).double())
    products = unit @ metric @ unit.T
    lengths = products.diag().sqrt()
    cosines = (products / lengths / lengths[:, None]).numpy()
    np.fill_diagonal(cosines, 0)

    for i in range(40):
        supporters, opponents = neighbors_of(support, None, i, 3)
        expected = np.argsort(-cosines[i])[:3]
        assert [j for j, _, _ in supporters] == expected.tolist()
        assert np.allclose([c for _, c, _ in supporters], cosines[i, expected], atol=1e-5)
        expected = np.argsort(cosines[i])[:3]
        assert [j for j, _, _ in opponents] == expected.tolist()
        assert np.allclose([c for _, c, _ in opponents], cosines[i, expected], atol=1e-5)
