"""Samples held out: what is measured on them is what plain autograd says, and it is used and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from support.scanning import scan
from torch import nn
from torch.nn import functional as F

import cohaudit
from cohaudit.errors import DataError, EngineError, ModelError
from cohaudit.report.html.view._gap import holdout_rows
from cohaudit.results import Estimate, Holdout, Risk, Skipped


def digits_apart() -> tuple[Any, Any]:
    """Return a few digits to train on and others, as (inputs, labels) each."""
    found = load_digits()
    x, y = torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)
    return (x[:300], y[:300]), (x[300:500], y[300:500])


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def risk_of(audit: cohaudit.Audit) -> tuple[Risk, Holdout]:
    assert isinstance(audit.risk, Risk)
    assert isinstance(audit.risk.holdout, Holdout)
    return audit.risk, audit.risk.holdout


def mean_gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Return the mean gradient, the mean of the squared norms, and α_u, one sample at a time in float64."""
    double = model.double()
    rows = []
    for one, label in zip(x.double(), y, strict=True):
        loss = F.cross_entropy(double(one[None]), label[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(double.parameters()))]))
    g = torch.stack(rows)
    total, energy = float(g.sum(0).square().sum()), float(g.square().sum())
    return g.mean(0), energy / len(g), (total / energy - 1) / (len(g) - 1)


def test_agreement_is_that_of_the_mean_gradients_by_autograd() -> None:
    training, holdout = digits_apart()
    model = trained(*training)
    risk, found = risk_of(cohaudit.scan(model, training, holdout=holdout, sketch_size=16_384))
    own, own_energy, within = mean_gradient(model, *training)
    new, new_energy, _ = mean_gradient(model, *holdout)
    # errors of sketched inner products: 1 / √16,384 of the lengths
    assert found.cosine == pytest.approx(float(F.cosine_similarity(own, new, dim=0)), abs=0.03)
    assert found.across == pytest.approx(float(own @ new) / (own_energy * new_energy) ** 0.5, abs=0.003)
    assert found.within == pytest.approx(within, abs=1e-5)
    model.float()
    accuracy = [float((model(x).argmax(1) == y).double().mean()) for x, y in (training, holdout)]
    assert found.accuracy == accuracy[1]
    assert found.gap.value == pytest.approx(accuracy[0] - accuracy[1])
    assert isinstance(found.right_gap, Estimate)
    # the digits have no wrong labels: judging them changes little
    assert found.right_gap.value == pytest.approx(found.gap.value, abs=0.03)
    ends = sorted([risk.predicted.value, found.right_gap.value])
    assert ends[0] <= risk.gap.value <= ends[1]
    assert risk.gap.value == pytest.approx(accuracy[0] - risk.expected.value)


def test_samples_of_the_training_are_left_out() -> None:
    training, holdout = digits_apart()
    both = tuple(torch.cat([new, old[:50]]) for new, old in zip(holdout, training, strict=True))
    model = trained(*training)
    found, alone = (risk_of(cohaudit.scan(model, training, holdout=given))[1] for given in (both, holdout))
    assert (found.samples, found.repeated) == (200, 50)
    assert (alone.samples, alone.repeated) == (200, 0)
    assert found.accuracy == alone.accuracy


def test_a_holdout_that_is_the_training_data_measures_nothing() -> None:
    training, _ = digits_apart()
    audit = cohaudit.scan(trained(*training), training, holdout=training)
    assert isinstance(audit.risk, Risk)
    assert isinstance(audit.risk.holdout, Skipped)
    assert (
        "300 of its 300 samples are in the training data as well, or come twice" in audit.risk.holdout.reason
    )
    assert audit.risk.holdout in audit.skipped
    assert audit.risk.gap == audit.risk.predicted
    assert any(notice.startswith("The holdout (in memory) was not used") for notice in audit.notices)


def test_without_a_holdout_nothing_is_said_to_be_skipped() -> None:
    training, _ = digits_apart()
    audit = cohaudit.scan(trained(*training), training)
    assert not [item for item in audit.skipped if "holdout" in item.name]


def test_the_prediction_does_not_depend_on_the_holdout() -> None:
    training, holdout = digits_apart()
    model = trained(*training)
    risk, _ = risk_of(cohaudit.scan(model, training, holdout=holdout))
    alone = cohaudit.scan(model, training).risk
    assert isinstance(alone, Risk)
    assert risk.predicted == alone.predicted
    assert risk.terms == alone.terms


def test_the_classes_share_what_the_holdout_says() -> None:
    training, holdout = digits_apart()
    model = trained(*training)
    audit = cohaudit.scan(model, training, holdout=holdout)
    gaps = [one.predicted_gap for one in audit.classes]
    risk, _ = risk_of(audit)
    mean = sum(
        gap.value * one.samples
        for gap, one in zip(gaps, audit.classes, strict=True)
        if isinstance(gap, Estimate)
    )
    assert mean / 300 == pytest.approx(risk.gap.value)


def test_the_command_line_measures_a_holdout_and_tells_it(digits: Path, tmp_path: Path) -> None:
    result = scan(
        digits / "model.safetensors", "--holdout", digits / "holdout.npz", "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    audit = cohaudit.read_audit(tmp_path / "out" / "audit.json")
    risk, found = risk_of(audit)
    assert found.samples > 300
    assert risk.predicted.low <= found.gap.value <= risk.predicted.high
    words = " ".join(result.stdout.split())
    assert f"accuracy {found.accuracy:.1%} on {found.samples:,} samples" in words
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    readme = " ".join(Path("README.md").read_text(encoding="utf-8").split())
    gap, measured = (100 * value for value in (risk.predicted.value, found.gap.value))
    low, high = (100 * end for end in (risk.predicted.low, risk.predicted.high))
    assert f"predicted gap is {gap:.1f} points (80% interval: {low:.1f} to {high:.1f})" in readme
    assert f"measured gap on {found.samples} held-out digits is {measured:.1f} points" in readme
    assert all(name in page and value in page for name, value in holdout_rows(risk))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x, y: (x, y + 1), "no sample has the label 0|no sample has this class|is out of range"),
        (lambda x, y: (x[:, :5], y), "holdout"),
        (lambda x, y: (x * np.nan, y), "holdout|NaN"),
    ],
    ids=["other labels", "another shape", "no numbers"],
)
def test_a_holdout_that_does_not_fit_is_refused(
    change: Any, found: str, digits: Path, tmp_path: Path
) -> None:
    with np.load(digits / "holdout.npz") as arrays:
        x, y = change(arrays["images"], arrays["labels"])
    np.savez(tmp_path / "other-holdout.npz", images=x, labels=y)
    result = scan(
        digits / "model.safetensors", "--holdout", tmp_path / "other-holdout.npz", "--out", tmp_path / "o"
    )
    assert result.exit_code == 2, result.output
    assert "holdout" in result.stderr
    assert re.search(found, result.stderr)
    assert not (tmp_path / "o").exists()


def test_a_holdout_may_lack_a_class_and_what_comes_twice_counts_once() -> None:
    training, (x, y) = digits_apart()
    model = trained(*training)
    some = y > 0
    twice = torch.cat([x[some], x[some]]), torch.cat([y[some], y[some]])
    found, once = (
        risk_of(cohaudit.scan(model, training, holdout=given))[1] for given in (twice, (x[some], y[some]))
    )
    assert (found.samples, found.repeated) == (int(some.sum()), int(some.sum()))
    assert found.gap == once.gap


def test_a_model_without_a_verdict_spares_the_holdout_and_says_so() -> None:
    training, holdout = digits_apart()
    stages: list[str] = []

    class Listening(cohaudit.pipeline.progress.SilentProgress):
        def stage(self, name: str, total: int | None = None) -> Any:
            stages.append(name)
            return super().stage(name, total)

    untrained = nn.Sequential(nn.Linear(64, 10))
    audit = cohaudit.scan(untrained, training, holdout=holdout, progress=Listening())
    assert not audit.sanity.auditable
    assert "measure the holdout" not in stages
    assert any(item.name.startswith("holdout") and "not auditable" in item.reason for item in audit.skipped)


def test_a_holdout_that_does_not_fit_is_refused_before_the_gradients(digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "holdout.npz") as arrays:
        np.savez(tmp_path / "h.npz", images=arrays["images"][:, :4, :4], labels=arrays["labels"])
    result = scan(digits / "model.safetensors", "--holdout", tmp_path / "h.npz", "--out", tmp_path / "o")
    assert result.exit_code == 2, result.output
    assert "holdout" in result.stderr
    assert "measure the gradients" not in result.stderr


def test_a_holdout_that_is_not_there_is_refused_before_anything_is_measured(
    digits: Path, tmp_path: Path
) -> None:
    result = scan(digits / "model.safetensors", "--holdout", tmp_path / "none.npz", "--out", tmp_path / "o")
    assert result.exit_code == 2
    assert "none.npz" in result.stderr
    assert "measure the gradients" not in result.stderr


def test_what_fails_on_a_sample_of_the_holdout_is_said_to_be_of_the_holdout() -> None:
    training, (x, y) = digits_apart()
    model = trained(*training)
    with pytest.raises(EngineError, match=r"^holdout \(in memory\), sample 4"):
        cohaudit.scan(model, training, holdout=(x * 1e30, y))
    with pytest.raises(ModelError, match=r"^holdout \(in memory\), sample 0: the model fails"):
        cohaudit.scan(model, training, holdout=(x[:, :60], y))


def test_a_table_is_read_by_the_columns_of_the_training_table(tmp_path: Path) -> None:
    (x, y), (new, labels) = digits_apart()
    model = trained(x, y)
    names = [f"pixel{i}" for i in range(64)]
    table = pd.DataFrame(new.numpy(), columns=names).assign(label=labels.numpy(), note="none")
    pd.DataFrame(x.numpy(), columns=names).assign(label=y.numpy()).to_csv(tmp_path / "train.csv", index=False)
    table[table.columns[::-1]].to_csv(tmp_path / "holdout.csv", index=False)
    audit = cohaudit.scan(model, tmp_path / "train.csv", holdout=tmp_path / "holdout.csv")
    with torch.no_grad():
        assert risk_of(audit)[1].accuracy == float((model(new).argmax(1) == labels).double().mean())
    table.drop(columns="pixel7").to_csv(tmp_path / "holdout.csv", index=False)
    with pytest.raises(DataError, match=r"holdout\.csv.*pixel7"):
        cohaudit.scan(model, tmp_path / "train.csv", holdout=tmp_path / "holdout.csv")


def test_other_classes_are_refused() -> None:
    training, (x, y) = digits_apart()
    model = trained(*training)
    with pytest.raises(DataError, match=r"holdout|class"):
        cohaudit.scan(model, training, holdout=(x, y + 1))
