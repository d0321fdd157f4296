"""What all kinds of datasets have in common: batches, repeatability, and a line that describes the inputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_datasets import KINDS, write_csv

from cohaudit.loading.data import LabeledDataset, as_dataset, open_dataset
from cohaudit.loading.data._describe import describe_inputs


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LabeledDataset]:
    return {name: open_dataset(make(tmp_path_factory.mktemp("kind"))) for name, make in KINDS.items()}


def as_dict(inputs: Any) -> dict[str, torch.Tensor]:
    if isinstance(inputs, torch.Tensor):
        return {"": inputs}
    return inputs if isinstance(inputs, dict) else {str(i): part for i, part in enumerate(inputs)}


@pytest.mark.parametrize("kind", KINDS)
@given(choice=st.data())
def test_a_batch_is_its_samples_stacked(
    opened: dict[str, LabeledDataset], kind: str, choice: st.DataObject
) -> None:
    dataset = opened[kind]
    indices = choice.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=8))
    batch = dataset.batch(indices)
    singles = [dataset.batch([i]) for i in indices]
    assert type(batch) is type(singles[0])
    for name, part in as_dict(batch).items():
        assert torch.equal(part, torch.cat([as_dict(single)[name] for single in singles]))


@pytest.mark.parametrize("kind", KINDS)
def test_opening_twice_gives_the_same_dataset(tmp_path: Path, kind: str) -> None:
    config = KINDS[kind](tmp_path)
    first, second = open_dataset(config), open_dataset(config)
    assert (first.ids, first.class_names, first.fingerprint) == (
        second.ids,
        second.class_names,
        second.fingerprint,
    )
    assert first.labels.tolist() == second.labels.tolist()
    assert first.labels.dtype == np.int64
    assert len(first.fingerprint) == 64
    assert first.source == config.data


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "npz of images",
            "1×4×5 float32 from 0 to 0.467 (in 6 samples); uint8 images scaled by 1/255, no transform",
        ),
        ("npz with a transform", "2 float32 from 0 to 5.5 (in 6 samples); transform code.py:halve"),
        ("csv", "2 float32 from \u22125 to 5.5 (in 6 samples); columns a … b, no transform"),
        ("csv with a transform", "2 int64 from 0 to 5 (in 6 samples); transform code.py:row"),
        (
            "torch dataset of dicts",
            "a: 2 float32 from 0 to 5, b: one int64 from 0 to 5 (in 6 samples);"
            " as the dataset gives them, no transform",
        ),
    ],
)
def test_what_the_model_is_fed_in_words(opened: dict[str, LabeledDataset], kind: str, said: str) -> None:
    assert describe_inputs(opened[kind]) == said


def test_what_the_model_is_fed_of_an_image_folder(opened: dict[str, LabeledDataset]) -> None:
    said = r"1×5×4 float32 from 0\S* to \S+ \(in 4 samples\); grey images scaled to \[0, 1\], no transform"
    assert re.fullmatch(said, describe_inputs(opened["image folder"]))


def test_what_the_model_is_fed_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cohaudit")
    config = write_csv(tmp_path, "a,label\n1,0\n2,1\n")
    for data in (str(tmp_path / "data.csv"), (np.ones((2, 1)), np.array([0, 1]))):
        caplog.clear()
        as_dataset(data, config)
        assert [message.partition(" float32")[0] for message in caplog.messages] == ["Inputs: 1"]


def test_other_previews(opened: dict[str, LabeledDataset]) -> None:
    assert opened["image folder with a transform"].preview(0).kind == "image"
    assert opened["torch dataset of dicts"].preview(0).kind == "none"
    assert opened["torch dataset of tensors"].preview(1).text == "2 3"
    assert dict(opened["parquet"].preview(0).row) == {"a": "1.5", "b": "True"}
