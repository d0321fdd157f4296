"""A snapshot: against plain autograd."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from support.trainings import EPOCHS, gradient, network, training

from cohaudit.audits.optimizer_state import OptimizerProgress
from cohaudit.audits.training.snapshot import Snapshot, snapshot_of
from cohaudit.config import Config
from cohaudit.gradients import Source, measure
from cohaudit.pipeline.scan import options_of


def test_a_snapshot_is_what_plain_autograd_gives_where_sketches_keep_all(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    x, labels = x.double(), y.numpy()
    model = network()
    model.double().eval()
    source = Source(lambda chosen: x[chosen], labels, [str(i) for i in range(len(y))], ["a", "b", "c"])
    options = options_of(Config(sketch_size=5_000))
    shots, means = [], []
    for epoch in EPOCHS[:2]:
        model.load_state_dict(torch.load(tmp_path / f"epoch-{epoch}.pt")["model"])
        measured = measure(model, source, options, torch.device("cpu"), lambda _: None)
        shot = snapshot_of(
            measured,
            model,
            labels,
            progress=OptimizerProgress(7, 0.5),
            holdout=(0.5, 1.0),
            seed=0,
        )
        gradients = torch.stack([gradient(model, a, b) for a, b in zip(x, y, strict=True)])
        owned = gradients @ gradients.mean(0)
        np.testing.assert_allclose(shot.share, owned / owned.sum(), atol=1e-6)
        assert np.linalg.norm(shot.mean) == pytest.approx(gradients.mean(0).norm().item(), rel=1e-5)
        assert shot.largest == pytest.approx(gradients.norm(dim=1).max().item(), rel=1e-9)
        assert (shot.step, shot.rate) == (7, 0.5)
        again = Snapshot.from_arrays(shot.to_arrays())
        for field in fields(Snapshot):
            before = getattr(shot, field.name)
            after = getattr(again, field.name)
            assert type(after) is type(before)
            np.testing.assert_array_equal(after, before, field.name)
        shots.append(shot)
        means.append((gradients.mean(0), torch.cat([p.detach().flatten() for p in model.parameters()])))
    for part, name in enumerate(("mean", "weights")):
        apart = np.linalg.norm(getattr(shots[1], name) - getattr(shots[0], name))
        assert apart == pytest.approx((means[1][part] - means[0][part]).norm().item(), rel=0.1)
