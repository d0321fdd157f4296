"""`cohaudit.scan` as a notebook calls it: frames keep their index, models are left as they were."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import cohaudit
from cohaudit.config.typed import Settings

QUICK: dict[str, Any] = {"outside": False, "bootstrap": 20, "audits": "none"}
CLASSES = ["ant", "bee", "cat"]


def flipped_frame() -> tuple[nn.Module, pd.DataFrame, list[Any]]:
    """Return a fitted model, a shuffled frame with an index of its own, and the index of its wrong labels."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 40)
    values = rng.normal(size=(120, 3)) + 4 * np.eye(3)[label]
    frame = pd.DataFrame(values.astype("float32"), columns=["u", "v", "w"])
    frame["y"] = [CLASSES[one] for one in label]
    frame = frame.set_axis(1000 - 3 * frame.index).sample(frac=1, random_state=0)
    wrong = frame.index[[5, 40, 77, 101]].tolist()
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
        model.bias.zero_()
    frame.loc[wrong, "y"] = frame.loc[wrong, "y"].map(
        dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    )
    return model, frame, wrong


@pytest.fixture(scope="module")
def scanned() -> tuple[cohaudit.Audit, pd.DataFrame, list[Any]]:
    model, frame, wrong = flipped_frame()
    return cohaudit.scan(model, frame, labels="y", **QUICK), frame, wrong


def test_the_frames_index_finds_the_suspects(
    scanned: tuple[cohaudit.Audit, pd.DataFrame, list[Any]], tmp_path: Path
) -> None:
    audit, frame, wrong = scanned
    assert set(audit.suspects.index) == set(wrong)
    assert (frame.loc[audit.samples.index, "y"] == audit.samples["label"]).all()
    assert audit.samples["id"].tolist() == [str(one) for one in frame.index]
    cohaudit.write_report(audit, tmp_path)
    read = cohaudit.read_audit(tmp_path / "audit.json")
    assert read == audit
    # the file does not know the frame: its table cannot be taken for the frame's rows
    with pytest.raises(KeyError):
        frame.loc[read.suspects.index]


def test_a_part_of_the_data_keeps_its_places() -> None:
    model, frame, _ = flipped_frame()
    audit = cohaudit.scan(model, frame, labels="y", limit=30, **QUICK)
    assert len(audit.samples) == 30
    assert (frame.loc[audit.samples.index, "y"] == audit.samples["label"]).all()
    inputs, labels = frame[["u", "v", "w"]].to_numpy(), pd.Categorical(frame["y"]).codes.astype(int)
    audit = cohaudit.scan(model, (inputs, labels), limit=30, **QUICK)
    assert labels[audit.samples.index].tolist() == audit.samples["label"].astype(int).tolist()


def test_corrected_labels_fit_the_frame(scanned: tuple[cohaudit.Audit, pd.DataFrame, list[Any]]) -> None:
    audit, frame, wrong = scanned
    labels = audit.corrected_labels()
    changed = labels[labels != frame["y"].loc[labels.index]]
    assert set(changed.index) == set(wrong)
    assert labels.loc[wrong].tolist() == audit.suspects.loc[wrong, "suggested"].tolist()
    numbers = audit.corrected_labels(numbers=True)
    assert [CLASSES[one] for one in numbers] == labels.tolist()


def test_what_a_caller_does_to_the_table_reaches_no_report(
    scanned: tuple[cohaudit.Audit, pd.DataFrame, list[Any]],
) -> None:
    audit = scanned[0]
    before = cohaudit.check(audit, fail_on="suspects>3").failed
    taken, suspects = audit.samples, audit.suspects
    taken["suspect"] = False
    taken.loc[:, "suspicion"] = 0.0
    suspects["label"] = "x"
    assert before
    assert cohaudit.check(audit, fail_on="suspects>3").failed
    assert copy.deepcopy(audit) == audit


def test_a_holdout_may_be_a_frame_with_its_columns_in_another_order() -> None:
    model, frame, _ = flipped_frame()
    train, test = frame.iloc[:80], frame.iloc[80:][["w", "y", "v", "u"]]
    audit = cohaudit.scan(model, train, holdout=test, labels="y", **QUICK)
    assert not isinstance(audit.risk, cohaudit.Skipped)
    assert not isinstance(audit.risk.holdout, cohaudit.Skipped)
    assert audit.risk.holdout.accuracy > 0.8


def test_a_frozen_model_is_measured_and_left_frozen() -> None:
    model, frame, _ = flipped_frame()
    plain = cohaudit.scan(model, frame, labels="y", **QUICK)
    model.requires_grad_(False)
    frozen = cohaudit.scan(model, frame, labels="y", **QUICK)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert any("All parameters were frozen" in notice for notice in frozen.notices)
    assert frozen.samples.equals(plain.samples)


def test_inference_mode_is_named() -> None:
    model, frame, _ = flipped_frame()
    with (
        torch.inference_mode(),
        pytest.raises(cohaudit.CohauditError, match=r"torch\.inference_mode is on"),
    ):
        cohaudit.scan(model, frame, labels="y", **QUICK)
    with torch.inference_mode():
        made = nn.Linear(3, 3)
    with pytest.raises(cohaudit.CohauditError, match=r"weight was made under torch\.inference_mode"):
        cohaudit.scan(made, frame, labels="y", **QUICK)
    # what the message says helps
    cohaudit.scan(copy.deepcopy(made), frame, labels="y", **QUICK)


def test_an_editor_completes_the_settings() -> None:
    parameters = inspect.signature(cohaudit.scan).parameters
    assert set(parameters) >= {"model", "dataset", "progress", *Settings.__annotations__}
    assert parameters["neighbors"].default == cohaudit.Config().neighbors
    assert not [name for name, one in parameters.items() if one.kind is one.VAR_KEYWORD]


def test_classes_that_differ_by_case_or_space_are_pointed_out() -> None:
    model, frame, _ = flipped_frame()
    spelled = frame["y"].where(frame["y"] != "cat", "Ant ")
    names = ["ant", "bee", "Ant "]
    audit = cohaudit.scan(model, frame.assign(y=spelled), labels="y", class_names=names, **QUICK)
    assert "'ant' and 'Ant ' differ only by case or space" in audit.notices[0]
    with pytest.raises(cohaudit.CohauditError, match=r"2 classes, the data has 3.*only by case or space"):
        cohaudit.scan(nn.Linear(3, 2), frame.assign(y=spelled), labels="y", **QUICK)
