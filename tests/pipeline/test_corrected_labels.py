"""Scan, correct, retrain, scan: what was concluded from labels does not come back as evidence for itself."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

import cohaudit
from cohaudit.cli import main
from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.loading.data import open_dataset
from cohaudit.results import Audit, Corrections, ReviewCalibration, Skipped, WrongLabels
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.tables import table_to_records
from cohaudit.review.diff.compare import compare
from cohaudit.review.label_provenance import provenance_file, read_provenance

SAMPLES = 240
CLASSES = 4
SIDE = 4
"""Height and width of an image, in pixels."""
WRONG = 0.15
"""Share of wrong labels."""


@dataclass(frozen=True)
class World:
    """Samples with given and true labels; id → the latter.

    Attributes:
        data: File or folder.
        truth: Id of a sample in `data` → true class name.
    """

    data: Path
    truth: dict[str, str]


def draw(spread: float) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs of classes that overlap by their spread, [samples, pixels], true and given labels."""
    rng = np.random.default_rng(0)
    truth = np.arange(SAMPLES) % CLASSES
    centers = rng.normal(0, 1, (CLASSES, SIDE * SIDE))
    x = centers[truth] + rng.normal(0, spread, (SAMPLES, SIDE * SIDE))
    wrong = rng.random(SAMPLES) < WRONG
    given = np.where(wrong, (truth + rng.integers(1, CLASSES, SAMPLES)) % CLASSES, truth)
    return x.astype(np.float32), truth, given


def write_table(folder: Path) -> World:
    x, truth, given = draw(1.1)
    path = folder / "train.csv"
    names = [f"x{k}" for k in range(x.shape[1])]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *names, "label"])
        for i, row in enumerate(x):
            writer.writerow([f"s{i}", *(f"{value:.4f}" for value in row), f"c{given[i]}"])
    return World(path, {f"s{i}": f"c{one}" for i, one in enumerate(truth)})


def write_pictures(folder: Path) -> World:
    x, truth, given = draw(0.95)
    root = folder / "photos"
    pixels = np.clip(128 + 40 * x, 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    for i, picture in enumerate(pixels):
        path = root / f"c{given[i]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return World(root, {f"c{given[i]}/{i}.png": f"c{one}" for i, one in enumerate(truth)})


def train(data: Path) -> nn.Module:
    """Return a network that fits the labels of a file or folder."""
    dataset = open_dataset(Config(data=str(data)))
    x = dataset.batch(range(len(dataset)))
    assert isinstance(x, torch.Tensor)
    y = torch.from_numpy(dataset.labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def scan(model: nn.Module, data: Path, **settings: Any) -> Audit:
    return cohaudit.scan(model, str(data), audits=("none",), bootstrap=20, certificate_samples=2, **settings)


def correct(audit: Audit, data: Path, out: Path, *options: str) -> str:
    """Run `cohaudit correct`, and return what it prints."""
    path = out.parent / "audit.json"
    path.write_text(audit_to_json(audit), encoding="utf-8")
    command = ["correct", str(path), "--data", str(data), "--out", str(out), *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


def changed_ids(out: Path) -> dict[str, str]:
    """Return id in the copy → id in the data, of the changed samples."""
    text = out.with_name(out.name + ".changes.csv").read_text("utf-8")
    return {row["new_id"]: row["id"] for row in csv.DictReader(io.StringIO(text))}


def wrong_share(audit: Audit, truth: dict[str, str]) -> float:
    rows = zip(audit.samples["id"], audit.samples["label"], strict=True)
    return float(np.mean([truth[name] != label for name, label in rows]))


def corrections(audit: Audit) -> Corrections:
    assert isinstance(audit.corrections, Corrections)
    return audit.corrections


def told(audit: Audit) -> WrongLabels:
    assert isinstance(audit.wrong_labels, WrongLabels)
    return audit.wrong_labels


@dataclass(frozen=True)
class Loop:
    """Scan, correct, retrain, scan.

    Attributes:
        first: Audit of the given labels.
        printed: What the correction said.
        data: The corrected data.
        model: The network that was trained on it.
        second: Its audit.
        truth: Id of a sample, before or after the correction → true class name.
    """

    first: Audit
    printed: str
    data: Path
    model: nn.Module
    second: Audit
    truth: dict[str, str]


def make_loop(world: World) -> Loop:
    first = scan(train(world.data), world.data)
    out = world.data.with_name(f"corrected{world.data.suffix}")
    printed = correct(first, world.data, out)
    model = train(out)
    second = scan(model, out)
    truth = world.truth | {new: world.truth[old] for new, old in changed_ids(out).items()}
    return Loop(first, printed, out, model, second, truth)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return make_loop(write_table(tmp_path_factory.mktemp("table")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return make_loop(write_pictures(tmp_path_factory.mktemp("pictures")))


@pytest.mark.parametrize("kind", ["table", "pictures"])
def test_the_claimed_remainder_holds_the_true_one(kind: str, request: pytest.FixtureRequest) -> None:
    loop: Loop = request.getfixturevalue(kind)
    first, second = loop.first, loop.second
    assert told(first).told
    left = wrong_share(second, loop.truth)
    assert 0 < left < wrong_share(first, loop.truth)
    share = told(second).share
    assert share.low <= left <= share.high
    assert share.high > 0.005
    assert "of these" in loop.printed
    # suspicions and share agree
    assert second.samples["suspicion"].mean() == pytest.approx(share.value)
    found = corrections(second)
    assert found.by_audit == found.rounds[-1].relabeled > 10
    assert found.unmatched == 0
    assert any("changed by an audit alone" in notice for notice in second.notices)
    # what `correct` said is what the next scan begins with
    assert found.rounds[-1].remainder.low <= share.value <= found.rounds[-1].remainder.high
    difference = compare(first, second)
    assert any("changed by an audit alone" in one for one in difference.unlike)
    assert not any("have another label now" in one for one in difference.improvements)


def test_a_second_correction_keeps_what_the_first_one_recorded(table: Loop, tmp_path: Path) -> None:
    out = tmp_path / "again.csv"
    # the network was trained on what the audit concluded: it says nothing new about the rest
    suspects = table.second.samples["suspect"]
    second = replace(
        table.second, samples=table.second.samples.assign(suspect=suspects | (suspects.index < 3))
    )
    assert "Suspects left to a person: " in correct(second, table.data, out)
    assert not changed_ids(out)
    before = read_provenance(provenance_file(table.data))
    after = read_provenance(provenance_file(out))
    assert len(after.rounds) == 2
    assert after.rounds[0] == before.rounds[0]
    assert set(after.changes) == set(before.changes)
    # but a person may change what was changed before
    (tmp_path / "fixes.csv").write_text(f"id,new_label\n{before.changes[0].id},{before.changes[0].given}\n")
    back = tmp_path / "back.csv"
    correct(table.second, table.data, back, "--only", str(tmp_path / "fixes.csv"))
    now = {one.id: one for one in read_provenance(provenance_file(back)).changes}[before.changes[0].id]
    assert (now.given, now.label, now.by, now.wrong) == (now.given, now.given, "list", 0)


def test_without_the_file_labels_count_as_given(table: Loop, tmp_path: Path) -> None:
    data = tmp_path / "moved.csv"
    data.write_bytes(table.data.read_bytes())
    lost = scan(table.model, data, outside=False)
    assert isinstance(lost.corrections, Skipped)
    # named from where it was left
    named = scan(table.model, data, outside=False, provenance=str(provenance_file(table.data)))
    assert corrections(named).by_audit == corrections(table.second).by_audit
    assert told(named).share.value > 2 * told(lost).share.value


def test_a_label_edited_since_counts_as_given(table: Loop, tmp_path: Path) -> None:
    entries = read_provenance(provenance_file(table.data)).changes
    row = table.data.read_text("utf-8").splitlines()
    place = next(k for k, line in enumerate(row) if line.startswith(f"{entries[0].id},"))
    # back to what it was, by hand
    row[place] = f"{row[place].rpartition(',')[0]},{entries[0].given}"
    data = tmp_path / "edited.csv"
    data.write_text("\n".join(row) + "\n", encoding="utf-8")
    provenance_file(data).write_bytes(provenance_file(table.data).read_bytes())
    found = corrections(scan(table.model, data, outside=False))
    assert found.unmatched == 1
    assert found.by_audit == len(entries) - 1


def test_a_damaged_file_is_refused_before_anything_is_measured(table: Loop, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(table.data.read_bytes())
    provenance_file(data).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data\.csv\.provenance\.json: is not JSON"):
        scan(table.model, data)


def test_answers_hold_in_later_rounds(table: Loop, tmp_path: Path) -> None:
    rows = {row["id"]: row for row in table_to_records(table.second.samples)}
    answers = []
    for name in table.second.questions[:30]:
        label, true = rows[name]["label"], table.truth[name]
        said = {"answer": "right"} if label == true else {"answer": "wrong", "true_label": true}
        answers.append({"content": rows[name]["content"], "label": label, "id": name} | said)
    file = tmp_path / "reviewed.json"
    concluded = read_provenance(provenance_file(table.data)).changes
    other = next(one for one in concluded if one.id not in table.second.questions[:30])
    unnamed = {"content": other.content, "label": other.label, "answer": "wrong"}
    file.write_text(json.dumps({"answers": [*answers, unnamed]}), encoding="utf-8")
    reviewed = scan(table.model, table.data, reviewed=str(file))
    now = dict(zip(reviewed.samples["id"], reviewed.samples["suspicion"], strict=True))
    assert all(now[one["id"]] == (one["answer"] == "wrong") for one in answers)
    # wrong now, though nobody said what it is
    assert now[other.id] == 1
    assert other.id not in reviewed.questions
    # notice, share and suspicions say the same
    share = told(reviewed).share
    assert isinstance(reviewed.calibration, ReviewCalibration)
    assert reviewed.calibration.wrong_share == share
    assert reviewed.samples["suspicion"].mean() == pytest.approx(share.value)
    out = tmp_path / "reviewed.csv"
    correct(reviewed, table.data, out)
    by_person = {one.id: one for one in read_provenance(provenance_file(out)).changes if one.by == "review"}
    assert {one["id"] for one in answers} <= by_person.keys()
    # nobody names the file of answers any more
    third = scan(table.model, out)
    assert isinstance(third.calibration, ReviewCalibration)
    assert third.calibration.right + third.calibration.wrong == 30
    later = {row["id"]: row for row in table_to_records(third.samples)}
    for one in answers:
        assert later[one["id"]]["label"] == table.truth[one["id"]]
        assert later[one["id"]]["suspicion"] == 0
    assert not set(third.questions) & {one["id"] for one in answers}


def test_what_was_left_out_is_not_forgotten(table: Loop, tmp_path: Path) -> None:
    """Without the disputed labels the rest looks right: the remainder of the correction is carried on."""
    out = tmp_path / "fewer.csv"
    given = table.data.with_name("train.csv")
    correct(table.first, given, out, "--drop")
    audit = scan(train(out), out)
    recorded = corrections(audit).rounds[-1]
    assert recorded.removed == recorded.by_audit > 10
    share = told(audit).share
    assert share.value >= recorded.remainder.value
    assert share.low <= wrong_share(audit, table.truth) <= share.high
    assert audit.samples["suspicion"].mean() == pytest.approx(share.value, abs=1e-6)
