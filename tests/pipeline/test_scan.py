"""The whole job on real files: what `cohaudit scan` finds on the fixtures, and what it promises."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from support.scanning import scan
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import cohaudit
from cohaudit.errors import ConfigError, ModelError
from cohaudit.loading.factories import load_object
from cohaudit.results import SAMPLE_COLUMNS, Audit, Coherence, Risk, Skipped


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
    assert roc_auc_score(flipped, table["suspicion"]) >= 0.995
    assert flipped[suspect].mean() >= 0.95  # precision
    assert suspect[flipped].mean() >= 0.95  # recall
    assert (table["suggested"] == flips["true"])[suspect & flipped].mean() >= 0.85
    # a probability: about as many wrong labels as it says
    assert table["suspicion"].sum() == pytest.approx(flipped.sum(), rel=0.1)


def test_tumors_suspects_are_the_flipped_labels(tmp_path: Path) -> None:
    assert scan(Path("fixtures/tumors/model.safetensors"), "--out", tmp_path).exit_code == 0
    table, flips = cohaudit.read_audit(tmp_path / "audit.json").samples, truth("tumors")
    flipped, suspect = flips["flipped"].to_numpy() == 1, table["suspect"].to_numpy()
    assert roc_auc_score(flipped, table["suspicion"]) >= 0.98
    assert flipped[suspect].mean() >= 0.9
    assert suspect[flipped].mean() >= 0.7
    assert list(table["id"]) == list(flips["id"])
    assert set(table["label"]) == {"malignant", "benign"}


def test_the_readme_tells_what_is_found(digits_audit: tuple[Audit, Path]) -> None:
    suspect, flipped = digits_audit[0].samples["suspect"], truth("digits")["flipped"] == 1
    right = (suspect & flipped).sum()
    claim = f"lists {suspect.sum()} suspects. {right} of them are among the {flipped.sum()} wrong labels"
    assert claim in " ".join(Path("README.md").read_text(encoding="utf-8").split())


def test_support_tells_flipped_labels_too(digits_audit: tuple[Audit, Path]) -> None:
    table, flipped = digits_audit[0].samples, truth("digits")["flipped"] == 1
    assert roc_auc_score(flipped, -table["support"]) >= 0.95


def test_samples_csv_has_one_row_a_sample(digits_audit: tuple[Audit, Path]) -> None:
    table = pd.read_csv(digits_audit[1] / "samples.csv")
    assert tuple(table.columns) == SAMPLE_COLUMNS
    assert len(table) == 1300


def test_every_sample_names_its_neighbors_and_its_best_label(digits_audit: tuple[Audit, Path]) -> None:
    audit = digits_audit[0]
    table = audit.samples.set_index("id")
    for evidence in audit.evidence:
        row = table.loc[evidence.id]
        assert row["supporters"] == ";".join(n.id for n in evidence.supporters[:3])
        assert row["opponents"] == ";".join(n.id for n in evidence.opponents[:3])
    assert table["supporters"].str.split(";").map(len).max() == 3
    assert (table["supporters"] != "").mean() > 0.99
    best = table["loo_margin"] >= 0
    assert ((table["suggested"] == table["label"]) == best).all()
    assert (table["suspect"] | best).mean() < 1, "a sample may lean elsewhere without being a suspect"


def test_the_error_of_sketched_cosines_is_told(digits_audit: tuple[Audit, Path]) -> None:
    # true root mean square, against explicit gradients of this fixture: 0.0196, of cosines near zero 0.0198
    # stated is an upper estimate: what independent signs give, 0.0229, where norms alone would tell 0.021
    assert 0.0196 <= digits_audit[0].cosine_error <= 0.0235


def test_the_representation_is_named(digits_audit: tuple[Audit, Path]) -> None:
    audit = digits_audit[0]
    assert audit.representation == "the inputs of 4 layers, conv1 to fc2"
    assert isinstance(audit.risk, Risk)
    assert any("by the inputs of 4 layers, conv1 to fc2" in term.reason for term in audit.risk.terms)
    linear = cohaudit.scan(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits_in_memory()[1:])
    assert linear.representation == "the input of layer 1"


def test_what_shaped_the_numbers_is_recorded(digits_audit: tuple[Audit, Path], tmp_path: Path) -> None:
    assert {"weights", "model_args", "data_args", "transform", "class_names"} <= digits_audit[
        0
    ].settings.keys()
    (tmp_path / "net.py").write_text(
        "import torch, fixtures.digits.net\n"
        "def build(since, rate): return fixtures.digits.net.build()\n"
        "def scale(image): return torch.tensor(image).float()[None] / 255\n"
    )
    options = ["--model", tmp_path / "net.py:build", "--transform", tmp_path / "net.py:scale"]
    options += ["--model-arg", "since=2026-01-02", "--model-arg", "rate=nan", "--out", tmp_path / "out"]
    result = scan(Path("fixtures/digits/model.safetensors"), *options, "--limit", 100)
    assert result.exit_code == 0, result.output
    settings = cohaudit.read_audit(tmp_path / "out/audit.json").settings
    assert settings["model_args"] == {"since": "2026-01-02", "rate": "nan"}
    assert settings["transform"] == str(tmp_path / "net.py:scale")


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
    named = [e.id for e in audit.evidence]
    suspects = named[: table["suspect"].sum()]
    assert set(suspects) == set(table.index[table["suspect"]])
    assert table.loc[suspects, "suspicion"].is_monotonic_decreasing
    others = table.loc[named[len(suspects) :]]
    assert "ambiguous" in set(others["kind"]) <= {"ambiguous", "rare"}
    assert len(others) == (table["kind"].isin(["ambiguous", "rare", "duplicate"])).sum() <= 3 * 40
    for _, own in others.groupby("kind"):
        assert own["certainty"].is_monotonic_decreasing
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


def without_commands(page: str) -> str:
    return re.sub(r'<div class="command">.*?</div>', "", page, flags=re.DOTALL)


def test_report_is_rendered_again_without_model_or_data(
    digits_audit: tuple[Audit, Path], tmp_path: Path
) -> None:
    shutil.copy(digits_audit[1] / "audit.json", tmp_path)
    cohaudit.write_report(cohaudit.read_audit(str(tmp_path / "audit.json")), str(tmp_path / "again"))
    again, first = ((folder / "report.html").read_text() for folder in (tmp_path / "again", digits_audit[1]))
    # but for the places in the commands that the page gives
    assert without_commands(again) == without_commands(first)


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


def test_scan_from_python_evaluates_gates() -> None:
    model, inputs, labels = digits_in_memory()
    data = (inputs[:200], labels[:200])
    audit = cohaudit.scan(model, data, fail_on=["risk>=low", "coherence.layer.fc1<-0.9"])
    assert [gate.failed for gate in audit.gates] == [True, False]
    with pytest.raises(ConfigError, match="there is no metric 'riks'"):
        cohaudit.scan(model, data, fail_on=["riks>=low"])


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cuda"},
        {"out": "cohaudit-report"},
        {"weights": "ema"},
        {"trust_checkpoint": True},
        {"model_args": {"width": 3}},
        {"data": "train.npz"},
        {"config": cohaudit.Config(model="net.py:build")},
    ],
    ids=str,
)
def test_scan_from_python_ignores_no_setting(settings: dict[str, Any]) -> None:
    model, inputs, labels = digits_in_memory()
    with pytest.raises(ConfigError, match="has no effect for a model in memory"):
        cohaudit.scan(model, (inputs, labels), **settings)


def test_scan_from_python_wants_a_model() -> None:
    _, inputs, labels = digits_in_memory()
    with pytest.raises(ModelError, match=r"found 'model\.pth', a str, not a torch\.nn\.Module"):
        cohaudit.scan("model.pth", (inputs, labels))  # type: ignore[arg-type]  # that is what is tested


def test_an_audit_prints_as_a_summary(digits_audit: tuple[Audit, Path]) -> None:
    audit = digits_audit[0]
    lines = str(audit).splitlines()
    assert len(lines) <= 6
    assert "risk of overfitting: high, a gap of 10.1 points (" in lines[1]
    assert "wrong labels: about 10.0% (9.2% to 12.9%)" in str(audit)
    assert "suspects: 128" in str(audit)
    assert "\n" not in repr(audit)
    assert "risk high, gap 10.1 points (" in repr(audit)
    assert len(repr(audit)) < 200


def test_a_gate_on_a_name_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    for gate, near in (("coherence.layer.conv9<0.1", "conv"), ("coherence.class.77<0.1", "7")):
        ended = scan(Path("fixtures/digits/model.safetensors"), "--fail-on", gate, "--out", tmp_path / "out")
        assert ended.exit_code == 2
        assert f"--fail-on '{gate}': there is no" in ended.stderr
        assert f"did you mean {near}" in ended.stderr
        assert "measure the gradients" not in ended.stderr
        assert not (tmp_path / "out").exists()


def test_a_gate_on_a_module_without_gradients_fails() -> None:
    model, inputs, labels = digits_in_memory()
    model = nn.Sequential(model, nn.Identity())
    audit = cohaudit.scan(model, (inputs[:200], labels[:200]), fail_on=["coherence.layer.1<0.1"])
    assert audit.gates[0].failed
    assert "there is no layer '1'" in audit.gates[0].reason


def test_a_far_lower_accuracy_than_the_neighbors_reach_is_a_notice(digits_audit: tuple[Audit, Path]) -> None:
    model, inputs, labels = digits_in_memory()
    audit = cohaudit.scan(model, (inputs / 4, labels))
    assert audit.sanity.auditable
    assert len(audit.notices) == 1
    assert "the preprocessing or the transform differs from training" in audit.notices[0]
    assert audit.notices[0] in str(audit)
    assert digits_audit[0].notices == ()


def test_a_class_that_is_fitted_far_better_keeps_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a scale common to all classes, its sketches would be zeros in float32."""
    model, inputs, labels = digits_in_memory()
    expected = cohaudit.scan(model, (inputs, labels)).classes[0].coherence
    measure, shrunk = cohaudit.pipeline.measuring.measure, labels == 0

    def fitted_far_better(*args: Any, **options: Any) -> Any:
        found = measure(*args, **options)
        factor, squares = np.where(shrunk, 1e-60, 1), np.where(shrunk, 1e-120, 1)
        class_squares = found.class_squares.copy()
        class_squares[0] *= 1e-120
        return replace(
            found,
            scale=found.scale * factor,
            squared_norms=found.squared_norms * squares[:, None],
            class_squares=class_squares,
        )

    monkeypatch.setattr("cohaudit.pipeline.measuring.measure", fitted_far_better)
    found = cohaudit.scan(model, (inputs, labels)).classes[0].coherence
    assert isinstance(found, Coherence)
    assert isinstance(expected, Coherence)
    assert found.pairwise.low < found.pairwise.value < found.pairwise.high
    assert found.pairwise.low == pytest.approx(expected.pairwise.low, rel=1e-3)


def test_limit_takes_a_stratified_subsample_and_says_so(tmp_path: Path) -> None:
    assert scan(Path("fixtures/digits/model.safetensors"), "--limit", 200, "--out", tmp_path).exit_code == 0
    audit = cohaudit.read_audit(tmp_path / "audit.json")
    assert audit.subject.samples == len(audit.samples) == 200
    assert audit.subject.samples_total == 1300
    given = truth("digits").set_index("id")["given"]
    assert list(audit.samples["label"]) == list(given[audit.samples["id"]])
    (notice,) = audit.notices
    assert notice.startswith("Measured on 200 of 1,300 samples")
    assert "Support uses 3 neighbors" in notice
    assert notice in (tmp_path / "report.html").read_text()
    assert audit.skipped[0].name == "1,100 of 1,300 samples"


def test_the_risk_of_a_subsample_is_close_to_that_of_all(digits_audit: tuple[Audit, Path]) -> None:
    # fewer samples predict less of each other: 0.18 in place of 0.16
    model, inputs, labels = digits_in_memory()
    whole, part = digits_audit[0].risk, cohaudit.scan(model, (inputs, labels), limit=325).risk
    assert isinstance(whole, Risk)
    assert isinstance(part, Risk)
    assert part.gap.value == pytest.approx(whole.gap.value, abs=0.05)


@pytest.mark.parametrize("damage", ["weights at initialization", "label map shuffled", "labels at random"])
def test_a_model_at_chance_gets_no_verdict(damage: str) -> None:
    model, inputs, labels = digits_in_memory()
    if damage == "weights at initialization":
        torch.manual_seed(1)
        model = load_object("net.py:build", Path("fixtures/digits"), "model")()
    elif damage == "label map shuffled":
        labels = (labels + 3) % 10
    else:
        labels = np.random.default_rng(0).permutation(labels)
    audit = cohaudit.scan(model, (inputs, labels))
    assert not audit.sanity.auditable
    assert isinstance(audit.risk, Skipped)
    assert not audit.samples["suspect"].any()
    assert audit.evidence == ()
    assert "not auditable" in audit.risk.reason
    assert all(isinstance(one.predicted_gap, Skipped) for one in audit.classes)


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
    # predictions from the raw data take a tensor, not keywords
    audit = cohaudit.scan(model, Tuples(inputs[:300], labels[:300]), outside=False)
    plain = cohaudit.scan(model, (inputs[:300], labels[:300]), outside=False)
    # the hash of an input is of all its arguments, with their names
    pd.testing.assert_frame_equal(
        audit.samples.drop(columns="content"), plain.samples.drop(columns="content")
    )


def test_a_model_without_any_representation_is_still_measured(tmp_path: Path) -> None:
    """Where no layer has a float input per sample there is coherence, and the rest says why it is missing."""
    torch.manual_seed(0)
    model = nn.EmbeddingBag(20, 3)
    inputs = torch.randint(0, 20, (30, 4))
    labels = model(inputs).argmax(1).numpy()
    audit = cohaudit.scan(model, (inputs, labels), fail_on=["suspects>0", "suspects>50%", "risk<low"])
    assert isinstance(audit.coherence, Coherence)
    assert isinstance(audit.risk, Skipped)
    assert "suspicion" in {skip.name for skip in audit.skipped}
    assert audit.samples[["suspicion", "loo_margin"]].isna().all(axis=None)
    assert set(audit.samples["suggested"]) == {""}
    assert audit.representation == ""
    for gate in audit.gates:
        assert gate.failed, "nothing passes by absence"
        assert "not measured" in gate.reason
    _, content, rows = cohaudit.write_report(audit, tmp_path)
    assert set(json.loads(content.read_text())["samples"]["suspicion"]) == {None}
    assert pd.read_csv(rows)["suspicion"].isna().all()
