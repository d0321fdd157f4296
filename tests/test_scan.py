"""The whole job on real files: what `cohaudit scan` finds on the fixtures, and what it promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scanning import scan
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import cohaudit
from cohaudit.audit import choose_samples
from cohaudit.factories import load_object
from cohaudit.results import SAMPLE_COLUMNS, Audit, Coherence, Skipped


@pytest.fixture(scope="module")
def digits_audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    """Return the audit of the digits fixture as the command line writes it, and its folder."""
    out = tmp_path_factory.mktemp("digits")
    result = scan(Path("fixtures/digits/model.safetensors"), "--out", out)
    assert result.exit_code == 0, result.output
    return cohaudit.read_audit(out / "audit.json"), out


def truth(fixture: str) -> pd.DataFrame:
    return pd.read_csv(f"fixtures/{fixture}/truth.csv", dtype={"id": str, "given": str, "true": str})


def test_digits_suspects_are_the_flipped_labels(digits_audit: tuple[Audit, Path]) -> None:
    table, flips = digits_audit[0].samples, truth("digits")
    assert list(table["id"]) == list(flips["id"])
    flipped, suspect = flips["flipped"].to_numpy() == 1, table["suspect"].to_numpy()
    assert roc_auc_score(flipped, table["suspicion"]) >= 0.985
    assert flipped[suspect].mean() >= 0.9  # precision
    assert suspect[flipped].mean() >= 0.9  # recall
    assert (table["suggested"] == flips["true"])[suspect & flipped].mean() >= 0.85
    # a probability: about as many wrong labels as it says
    assert table["suspicion"].sum() == pytest.approx(flipped.sum(), rel=0.2)


def test_tumors_suspects_are_the_flipped_labels(tmp_path: Path) -> None:
    assert scan(Path("fixtures/tumors/model.safetensors"), "--out", tmp_path).exit_code == 0
    table, flips = cohaudit.read_audit(tmp_path / "audit.json").samples, truth("tumors")
    flipped, suspect = flips["flipped"].to_numpy() == 1, table["suspect"].to_numpy()
    assert roc_auc_score(flipped, table["suspicion"]) >= 0.97
    assert flipped[suspect].mean() >= 0.9
    assert list(table["id"]) == list(flips["id"])
    assert set(table["label"]) == {"malignant", "benign"}


def test_support_tells_flipped_labels_too(digits_audit: tuple[Audit, Path]) -> None:
    table, flipped = digits_audit[0].samples, truth("digits")["flipped"] == 1
    assert roc_auc_score(flipped, -table["support"]) >= 0.95


def test_samples_csv_has_one_row_a_sample(digits_audit: tuple[Audit, Path]) -> None:
    table = pd.read_csv(digits_audit[1] / "samples.csv")
    assert tuple(table.columns) == SAMPLE_COLUMNS
    assert len(table) == 1300


def test_model_coherence_is_the_energy_weighted_mean_of_the_layers(digits_audit: tuple[Audit, Path]) -> None:
    audit = digits_audit[0]
    assert isinstance(audit.coherence, Coherence)
    parts = [(layer.energy, layer.coherence) for layer in audit.layers]
    assert sum(energy for energy, _ in parts) == pytest.approx(1, abs=1e-12)
    weighted = sum(e * c.alpha.value for e, c in parts if isinstance(c, Coherence))
    assert audit.coherence.alpha.value == pytest.approx(weighted, rel=1e-10)


def test_model_coherence_is_that_of_explicit_gradients(digits_audit: tuple[Audit, Path]) -> None:
    """The headline figures against gradients materialized by vmap in float64, N × P and all."""
    model, inputs, labels = digits_in_memory()
    model = model.double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, weights, (x[None],))
        return nn.functional.cross_entropy(logits, y[None])

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), chunk_size=100)
    grads = per_sample(parameters, inputs.double(), torch.from_numpy(labels))
    whole = torch.cat([g.flatten(1) for g in grads.values()], 1)
    audit = digits_audit[0]
    for found, rows in [
        (audit.coherence, whole),
        (audit.classes[3].coherence, whole[labels == 3]),
        (audit.layers[2].coherence, torch.cat([grads[f"fc1.{n}"].flatten(1) for n in ("weight", "bias")], 1)),
    ]:
        assert isinstance(found, Coherence)
        expected = rows.sum(0).square().sum() / rows.square().sum()
        assert found.m_coherence.value == pytest.approx(expected.item(), rel=1e-4)
    norms = whole.norm(dim=1).numpy()
    np.testing.assert_allclose(audit.samples["gradient_norm"], norms, rtol=2e-3, atol=1e-9)


def test_suspects_come_with_evidence_and_pictures(digits_audit: tuple[Audit, Path]) -> None:
    audit = digits_audit[0]
    table = audit.samples.set_index("id")
    assert [e.id for e in audit.evidence] == list(
        table[table["suspect"]].sort_values("suspicion", ascending=False).index
    )
    for evidence in audit.evidence:
        assert 0 < len(evidence.supporters) + len(evidence.opponents) <= 10
        assert evidence.id not in {n.id for n in (*evidence.supporters, *evidence.opponents)}
        assert all(n.cosine > 0 for n in evidence.supporters)
        assert all(n.cosine < 0 for n in evidence.opponents)
        assert all(audit.previews[n.id].image.startswith("data:image/png") for n in evidence.supporters)


def test_two_scans_are_equal_byte_for_byte(digits_audit: tuple[Audit, Path], tmp_path: Path) -> None:
    assert scan(Path("fixtures/digits/model.safetensors"), "--out", tmp_path).exit_code == 0
    first, second = (json.loads((out / "audit.json").read_text()) for out in (digits_audit[1], tmp_path))
    assert first.pop("timings").keys() == second.pop("timings").keys()
    assert json.dumps(first) == json.dumps(second)
    assert (digits_audit[1] / "samples.csv").read_bytes() == (tmp_path / "samples.csv").read_bytes()


def test_report_is_rendered_again_without_model_or_data(
    digits_audit: tuple[Audit, Path], tmp_path: Path
) -> None:
    shutil.copy(digits_audit[1] / "audit.json", tmp_path)
    cohaudit.write_report(cohaudit.read_audit(str(tmp_path / "audit.json")), str(tmp_path / "again"))
    assert (tmp_path / "again/report.html").read_bytes() == (digits_audit[1] / "report.html").read_bytes()


def digits_in_memory() -> tuple[nn.Module, torch.Tensor, np.ndarray]:
    base = Path("fixtures/digits")
    model = load_object("net.py:build", base, "model")()
    model.load_state_dict(load_file(base / "model.safetensors"))
    arrays = np.load(base / "train.npz")
    return model, torch.from_numpy(arrays["images"]).float().div(255).unsqueeze(1), arrays["labels"]


def test_scan_from_python_gives_the_same_numbers(digits_audit: tuple[Audit, Path]) -> None:
    model, inputs, labels = digits_in_memory()
    model.train()
    for dataset in (TensorDataset(inputs, torch.from_numpy(labels)), (inputs, labels)):
        audit = cohaudit.scan(model, dataset)
        assert isinstance(audit.samples, pd.DataFrame)
        pd.testing.assert_frame_equal(audit.samples, digits_audit[0].samples, rtol=1e-5)
    assert model.training
    assert audit.subject.checkpoint == "(in memory)"


def test_scan_from_python_takes_settings() -> None:
    model, inputs, labels = digits_in_memory()
    audit = cohaudit.scan(model, (inputs[:200], labels[:200]), neighbors=5, class_names=list("abcdefghij"))
    assert audit.settings["neighbors"] == 5
    assert [c.name for c in audit.classes] == list("abcdefghij")
    with pytest.raises(cohaudit.CohauditError, match="neighbors"):
        cohaudit.scan(model, (inputs, labels), neighbours=5)


def test_limit_takes_a_stratified_subsample_and_says_so(tmp_path: Path) -> None:
    assert scan(Path("fixtures/digits/model.safetensors"), "--limit", 200, "--out", tmp_path).exit_code == 0
    audit = cohaudit.read_audit(tmp_path / "audit.json")
    assert audit.subject.samples == len(audit.samples)
    assert abs(audit.subject.samples - 200) <= 5
    assert audit.subject.samples_total == 1300
    given = truth("digits").set_index("id")["given"]
    assert list(audit.samples["label"]) == list(given[audit.samples["id"]])
    assert "1,300" in (tmp_path / "report.html").read_text()


def test_stratified_choice_keeps_every_class() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 9 + [3])
    chosen = choose_samples(labels, 100, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [90, 9, 2, 1]
    assert (np.diff(chosen) > 0).all()
    assert (choose_samples(labels, 100, seed=0) == chosen).all()
    assert (choose_samples(labels, 100, seed=1) != chosen).any()
    assert len(choose_samples(labels, 0, seed=0)) == len(choose_samples(labels, 1000, seed=0)) == 1000


@pytest.mark.parametrize("damage", ["weights at initialization", "label map shuffled"])
def test_a_model_at_chance_gets_no_verdict(damage: str) -> None:
    model, inputs, labels = digits_in_memory()
    if damage == "weights at initialization":
        torch.manual_seed(1)
        model = load_object("net.py:build", Path("fixtures/digits"), "model")()
    else:
        labels = (labels + 3) % 10
    audit = cohaudit.scan(model, (inputs, labels))
    assert not audit.sanity.auditable
    assert isinstance(audit.risk, Skipped)
    assert not audit.samples["suspect"].any()
    assert audit.evidence == ()
    assert "not auditable" in audit.risk.reason


def test_temperature_shows_a_fitted_model_before_it_memorized(digits_audit: tuple[Audit, Path]) -> None:
    model, inputs, labels = digits_in_memory()
    warm = cohaudit.scan(model, (inputs, labels), temperature=10.0)
    assert isinstance(warm.coherence, Coherence)
    assert isinstance(digits_audit[0].coherence, Coherence)
    assert warm.coherence.m_coherence.value > 2 * digits_audit[0].coherence.m_coherence.value


class Tuples(Dataset[Any]):
    """A dataset whose inputs are dicts, for models called with keywords."""

    def __init__(self, inputs: torch.Tensor, labels: np.ndarray) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return {"x": self.inputs[index]}, int(self.labels[index])


def test_inputs_may_be_keywords() -> None:
    model, inputs, labels = digits_in_memory()
    audit = cohaudit.scan(model, Tuples(inputs[:300], labels[:300]))
    plain = cohaudit.scan(model, (inputs[:300], labels[:300]))
    pd.testing.assert_frame_equal(audit.samples, plain.samples)


def test_a_model_without_any_representation_is_still_measured() -> None:
    """Where no layer has a float input per sample there is coherence, and the rest says why it is missing."""
    torch.manual_seed(0)
    model = nn.EmbeddingBag(20, 3)
    inputs = torch.randint(0, 20, (30, 4))
    labels = (inputs[:, 0] % 3).numpy()
    labels[:3] = [0, 1, 2]
    audit = cohaudit.scan(model, (inputs, labels))
    assert isinstance(audit.coherence, Coherence)
    assert isinstance(audit.risk, Skipped)
    assert "suspicion" in {skip.name for skip in audit.skipped}
