"""A scan with reviewed labels: the answers reach suspicions, share, list, notices and the next questions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import nn

import cohaudit
from cohaudit.errors import ConfigError
from cohaudit.loading.factories import load_object
from cohaudit.report import render_html
from cohaudit.results import Audit, ReviewCalibration, Skipped
from cohaudit.results.json_encode import audit_to_json

DIGITS = Path("fixtures/digits")
SAMPLES = 500
TRUTH = {
    int(row["id"]): row["true"]
    for row in csv.DictReader((DIGITS / "truth.csv").read_text("utf-8").splitlines())
    if row["flipped"] == "1"
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    built: nn.Module = load_object("net.py:build", DIGITS, "model")()
    built.load_state_dict(load_file(DIGITS / "model.safetensors"))
    return built


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the first digits as a data file of their own."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    arrays = np.load(DIGITS / "train.npz")
    np.savez(path, images=arrays["images"][:SAMPLES], labels=arrays["labels"][:SAMPLES])
    return path


@pytest.fixture(scope="module")
def plain(model: nn.Module, data: Path) -> Audit:
    return scan(model, data)


def scan(model: nn.Module, data: Path, **settings: Any) -> Audit:
    return cohaudit.scan(model, data, audits=("none",), bootstrap=20, **settings)


def write(path: Path, audit: Audit, count: int) -> Path:
    """Write the answers of someone who knows the truth to the first questions."""
    rows = audit.samples.set_index("id")
    answers = []
    for name in audit.questions[:count]:
        label, true = rows.loc[name, "label"], TRUTH.get(int(name), rows.loc[name, "label"])
        said = {"answer": "right"} if label == true else {"answer": "wrong", "true_label": true}
        answers.append({"content": rows.loc[name, "content"], "label": label, "id": name} | said)
    path.write_text(json.dumps({"answers": answers}), encoding="utf-8")
    return path


def test_a_scan_suggests_questions_and_can_show_them(plain: Audit) -> None:
    assert len(plain.questions) == len(set(plain.questions)) == 60
    assert set(plain.questions) <= set(plain.previews)
    assert isinstance(plain.calibration, Skipped)
    assert plain.samples["content"].str.fullmatch("[0-9a-f]{16}").all()
    by_id = dict(zip(plain.samples["id"], plain.samples["content"], strict=True))
    for evidence in plain.evidence:
        assert evidence.content.removeprefix("sha256:").startswith(by_id[evidence.id])


def test_answers_change_the_verdict_on_all_labels(
    model: nn.Module, data: Path, plain: Audit, tmp_path: Path
) -> None:
    path = write(tmp_path / "reviewed.json", plain, 50)
    audit = scan(model, data, reviewed=path)
    found = audit.calibration
    assert isinstance(found, ReviewCalibration)
    asked = plain.questions[:50]
    wrong = [name for name in asked if int(name) in TRUTH]
    assert (found.right, found.wrong, found.unsure, found.unmatched) == (50 - len(wrong), len(wrong), 0, 0)
    rows = audit.samples.set_index("id")
    for name in asked:
        assert rows.loc[name, "suspicion"] == (name in wrong)
        assert rows.loc[name, "suggested"] == TRUTH.get(int(name), rows.loc[name, "label"])
    true_share = sum(i < SAMPLES for i in TRUTH) / SAMPLES
    assert not isinstance(found.wrong_share, Skipped)
    assert found.wrong_share.low <= true_share <= found.wrong_share.high
    assert found.wrong_share.value == pytest.approx(rows["suspicion"].mean(), abs=0.01)
    assert not isinstance(found.precision, Skipped)
    listed = audit.suspects
    assert found.precision.value == pytest.approx(listed["suspicion"].mean(), abs=0.02)
    assert (listed["suspicion"] >= 0.5).all()
    assert listed["suspicion"].is_monotonic_decreasing
    notice = f"Calibrated by 50 reviewed labels ({path}): "
    assert [one for one in audit.notices if notice in one and "(90% interval: " in one]
    assert notice in render_html(audit)
    assert not set(audit.questions) & set(asked)
    assert len(audit.questions) == 60
    file = tmp_path / "audit.json"
    file.write_text(audit_to_json(audit), encoding="utf-8")
    assert cohaudit.read_audit(file) == audit


def test_a_file_beside_the_data_is_used_and_told(
    model: nn.Module, data: Path, plain: Audit, tmp_path: Path
) -> None:
    moved = tmp_path / data.name
    moved.write_bytes(data.read_bytes())
    named = scan(model, data, reviewed=write(tmp_path / "named.json", plain, 20))
    beside = write(tmp_path / "digits.npz.reviewed.json", plain, 20)
    found = scan(model, moved)
    assert found.samples.equals(named.samples)
    assert [one for one in found.notices if f"20 reviewed labels ({beside})" in one]
    # of other data it applies to nothing, and the scan says so
    arrays = np.load(data)
    np.savez(moved, images=255 - arrays["images"][:60], labels=arrays["labels"][:60])
    other = scan(model, moved)
    assert isinstance(other.calibration, ReviewCalibration)
    assert other.calibration.unmatched == 20
    assert [one for one in other.notices if "20 answers apply to no audited sample" in one]


def test_a_few_answers_change_only_their_own_labels(
    model: nn.Module, data: Path, plain: Audit, tmp_path: Path
) -> None:
    audit = scan(model, data, reviewed=write(tmp_path / "few.json", plain, 3))
    others = ~plain.samples["id"].isin(plain.questions[:3])
    assert audit.samples.loc[others, "suspicion"].equals(plain.samples.loc[others, "suspicion"])
    assert isinstance(audit.calibration, ReviewCalibration)
    assert isinstance(audit.calibration.wrong_share, Skipped)
    assert [one for one in audit.notices if "3 labels were reviewed" in one and "too few" in one]


def test_answers_to_other_data_or_with_unknown_classes_are_refused(
    model: nn.Module, data: Path, plain: Audit, tmp_path: Path
) -> None:
    path = write(tmp_path / "reviewed.json", plain, 20)
    content = json.loads(path.read_text("utf-8"))
    content["answers"][0] |= {"answer": "wrong", "true_label": "eleven"}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="'eleven' is not a class"):
        scan(model, data, reviewed=path)
    for one in content["answers"]:
        one["content"] = one["content"][::-1]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="none of its 20 answers is about a sample of"):
        scan(model, data, reviewed=path)
    with pytest.raises(ConfigError, match="cannot be read"):
        scan(model, data, reviewed=tmp_path / "none.json")
