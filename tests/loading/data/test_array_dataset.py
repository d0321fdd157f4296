"""Arrays as datasets: layouts, names, labels and class names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from support.small_datasets import write_arrays

from cohaudit.config import Config
from cohaudit.loading.data import from_torch, open_dataset


def test_digits_fixture() -> None:
    dataset = open_dataset(Config(data="train.npz", base=FIXTURES / "digits"))
    truth = pd.read_csv(FIXTURES / "digits" / "truth.csv")
    pixels = np.load(FIXTURES / "digits" / "train.npz")["images"]
    assert dataset.labels.tolist() == truth["given"].tolist()
    assert dataset.ids == truth["id"].astype(str).tolist()
    assert dataset.class_names == list("0123456789")
    batch = dataset.batch([7, 3])
    assert isinstance(batch, torch.Tensor)
    assert torch.equal(batch, torch.from_numpy(pixels[[7, 3]]).float().div(255).unsqueeze(1))


@pytest.mark.parametrize(
    ("stored", "shape", "dtype"),
    [
        (np.zeros((3, 4, 5), np.uint8), (1, 4, 5), torch.float32),
        (np.zeros((3, 6, 5, 3), np.uint8), (3, 6, 5), torch.float32),
        (np.zeros((3, 6, 5, 1), np.uint8), (1, 6, 5), torch.float32),
        (np.zeros((3, 3, 5, 6), np.uint8), (3, 5, 6), torch.float32),
        (np.zeros((3, 13, 5, 6), np.uint8), (13, 5, 6), torch.float32),
        (np.zeros((3, 4), np.float64), (4,), torch.float32),
        (np.zeros((3, 4), np.float16), (4,), torch.float32),
        (np.zeros((3, 4), ">f4"), (4,), torch.float32),
        (np.zeros((3, 4), bool), (4,), torch.float32),
        (np.zeros((3, 4), np.int32), (4,), torch.int64),
        (np.zeros(3), (), torch.float32),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else None,
)
def test_arrays_take_the_layout_a_model_expects(
    tmp_path: Path, stored: np.ndarray, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    batch = open_dataset(write_arrays(tmp_path, x=stored, y=[0, 1, 0])).batch([0, 2])
    assert isinstance(batch, torch.Tensor)
    assert (tuple(batch.shape), batch.dtype) == ((2, *shape), dtype)


def test_channels_last_pixels_end_up_in_their_channel(tmp_path: Path) -> None:
    images = np.zeros((2, 6, 5, 3), np.uint8)
    images[1, 2, 3] = (255, 51, 0)
    batch = open_dataset(write_arrays(tmp_path, images=images, labels=[0, 1])).batch([1])
    assert isinstance(batch, torch.Tensor)
    assert batch[0, :, 2, 3].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert batch.sum().item() == pytest.approx(1.2)


def test_arrays_are_found_by_configured_names(tmp_path: Path) -> None:
    write_arrays(
        tmp_path, x=np.zeros((2, 3)), first=np.ones((2, 3)), y=[0, 1], second=["p", "q"], key=[b"k7", b"k9"]
    )
    dataset = open_dataset(
        Config(
            data="data.npz",
            base=tmp_path,
            inputs=("first",),
            labels="second",
            ids="key",
            class_names=("q", "p"),
        )
    )
    assert dataset.ids == ["k7", "k9"]
    assert dataset.labels.tolist() == [1, 0]
    assert torch.equal(dataset.batch([0]), torch.ones(1, 3))


def test_classes_beside_the_arrays_are_class_names_where_they_can_be(tmp_path: Path) -> None:
    x, named = np.zeros((2, 3)), ["ant", "bee"]
    assert open_dataset(write_arrays(tmp_path, x=x, y=[1, 0], classes=named)).class_names == named
    both = write_arrays(tmp_path, x=x, y=[1, 0], class_names=["cat", "dog"], classes=named)
    assert open_dataset(both).class_names == ["cat", "dog"]
    objects = np.array([None, {}])
    for other in ([7, 8], objects):
        assert open_dataset(write_arrays(tmp_path, x=x, y=[1, 0], classes=other)).class_names == ["0", "1"]
    config = replace(write_arrays(tmp_path, x=x, classes=["bee", "ant"]), labels="classes")
    assert open_dataset(config).class_names == ["ant", "bee"]


def test_class_names_may_lie_beside_the_arrays(tmp_path: Path) -> None:
    dataset = open_dataset(write_arrays(tmp_path, x=np.zeros((2, 3)), y=[1, 0], class_names=["ant", "bee"]))
    assert (dataset.class_names, dataset.labels.tolist()) == (["ant", "bee"], [1, 0])


@pytest.mark.parametrize(
    ("labels", "names", "numbers", "classes"),
    [
        ([1, 0, 1], (), [1, 0, 1], ["0", "1"]),
        ([[1], [0], [1]], (), [1, 0, 1], ["0", "1"]),
        ([1.0, 0.0, 1.0], (), [1, 0, 1], ["0", "1"]),
        ([True, False, True], (), [1, 0, 1], ["0", "1"]),
        ([1, 0, 1], ("ant", "bee"), [1, 0, 1], ["ant", "bee"]),
        (["b", "a", "b"], (), [1, 0, 1], ["a", "b"]),
        (["b", "a", "b"], ("b", "a"), [0, 1, 0], ["b", "a"]),
        ([1, 2, 1], ("1", "2"), [0, 1, 0], ["1", "2"]),
        ([b"b", b"a", b"b"], (), [1, 0, 1], ["a", "b"]),
    ],
    ids=[
        "integers",
        "a column",
        "floats",
        "booleans",
        "positions",
        "text",
        "named text",
        "named numbers",
        "bytes",
    ],
)
def test_labels(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...], numbers: list[int], classes: list[str]
) -> None:
    write_arrays(tmp_path, x=np.zeros((3, 2)), y=np.array(labels))
    dataset = open_dataset(Config(data="data.npz", base=tmp_path, class_names=names))
    assert (dataset.labels.tolist(), dataset.class_names) == (numbers, classes)


@given(
    st.lists(st.sampled_from(["ant", "bee", "cat"]), min_size=3).filter(lambda labels: len(set(labels)) == 3)
)
def test_any_text_labels_come_back_through_the_class_names(labels: list[str]) -> None:
    dataset = from_torch((np.zeros((len(labels), 1)), np.array(labels)))
    assert [dataset.class_names[label] for label in dataset.labels] == labels
