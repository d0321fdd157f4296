"""Datasets that come from Python code: a factory, a torch Dataset, a pair of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.small_datasets import npz_images, write_code
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from cohaudit.config import Config
from cohaudit.errors import ConfigError, DataError
from cohaudit.loading.data import as_dataset, from_torch, open_dataset


def test_fingerprint_of_a_torch_dataset_covers_every_input_and_label() -> None:
    inputs, labels = torch.arange(8.0).reshape(4, 2), [0, 1, 1, 0]
    pairs = list(zip(inputs, labels, strict=True))
    moved = [*pairs[:3], (pairs[3][0] + 1e-6, 0)]
    relabeled = [*pairs[:3], (pairs[3][0], 1)]
    prints = [from_torch(dataset).fingerprint for dataset in (pairs, pairs.copy(), moved, relabeled)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_factory_takes_arguments_and_class_names(tmp_path: Path) -> None:
    scaled = open_dataset(write_code(tmp_path, data="code.py:tensors", data_args={"scale": 2.0}))
    named = open_dataset(write_code(tmp_path, data="code.py:with_names"))
    overruled = open_dataset(write_code(tmp_path, data="code.py:with_names", class_names=("p", "q", "r")))
    assert torch.equal(scaled.batch([1]), 2 * named.batch([1]))
    assert named.class_names == ["x", "y", "z"]
    assert overruled.class_names == ["p", "q", "r"]


def test_a_torch_dataset_may_bring_ids_and_classes(tmp_path: Path) -> None:
    dataset = open_dataset(write_code(tmp_path, data="code.py:Named"))
    assert dataset.ids[5] == "k5"
    assert dataset.class_names == ["ant", "bee", "cat"]
    batch = dataset.batch([4])
    assert isinstance(batch, dict)
    assert batch["a"].tolist() == [[4.0, 4.0]]
    assert batch["b"].tolist() == [4]


@pytest.mark.parametrize(
    ("brought", "names"),
    [
        ({"classes": ["ant", "bee"]}, ["ant", "bee"]),
        ({"class_names": ("ant", "bee")}, ["ant", "bee"]),
        ({"class_names": np.array(["ant", "bee"]), "classes": ["x", "y"]}, ["ant", "bee"]),
        ({"class_names": None, "classes": 2}, ["0", "1"]),
    ],
)
def test_class_names_of_a_dataset_have_either_name(brought: dict[str, Any], names: list[str]) -> None:
    dataset = TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    vars(dataset).update(brought)
    assert from_torch(dataset).class_names == names
    assert from_torch(dataset, ["p", "q"]).class_names == ["p", "q"]


def test_a_torch_dataset_of_text_takes_a_transform_and_shows_the_text(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text("def make(): return [('hello', 'greeting'), ('see you', 'farewell')]\n")
    write_code(tmp_path)
    dataset = open_dataset(Config(data="d.py:make", base=tmp_path, transform="code.py:length"))
    assert torch.equal(dataset.batch([0, 1]), torch.tensor([[5.0], [7.0]]))
    assert dataset.class_names == ["farewell", "greeting"]
    assert dataset.preview(1).text == "see you"


def test_objects_and_paths_from_python(tmp_path: Path) -> None:
    pair = (torch.zeros(4, 3, dtype=torch.bfloat16), torch.tensor([0, 1, 0, 1]))
    dataset = as_dataset(pair, Config(class_names=("ant", "bee")))
    assert dataset.class_names == ["ant", "bee"]
    assert dataset.source == "(in memory)"
    assert as_dataset(dataset, Config()) is dataset
    npz_images(tmp_path)
    assert len(as_dataset(tmp_path / "data.npz", Config())) == 6
    assert from_torch(pair, source="mine").source == "mine"


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.zeros(1), 0)])


class Endless:
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1), 0


class Noisy:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.rand(2), index % 2


class Failing(Noisy):
    def __getitem__(self, index: int) -> Any:
        return [(torch.zeros(1), 0)][index]


def pairs(*labels: Any, inputs: Any = 1.0) -> list[Any]:
    return [(inputs, label) for label in labels]


OBJECTS: dict[str, tuple[Any, list[str]]] = {
    "IterableDataset": (Stream(), ["IterableDataset", "map-style"]),
    "DataLoader": (DataLoader(TensorDataset(torch.zeros(2, 1), torch.tensor([0, 1]))), ["loader.dataset"]),
    "no length": (Endless(), ["Endless", "__len__"]),
    "empty": ([], ["no sample"]),
    "random inputs": (Noisy(), ["sample '0'", "differs each time", "augmentation"]),
    "failing": (Failing(), ["sample '1'", "IndexError"]),
    "three values": ([(torch.zeros(1), 0, 0)], ["sample '0'", "3 values", "(input, label)"]),
    "a set": ([{0, 1}], ["sample '0'", "type set", "(input, label)"]),
    "one-hot": (pairs(torch.tensor([0, 1])), ["sample '0'", "shape [2]", "argmax"]),
    "labels of detection": (pairs({"boxes": []}), ["sample '0'", "dict", "class number"]),
    "text and numbers": (pairs("a", 1), ["text and numbers"]),
    "one class": (pairs(0, 0), ["only one class"]),
    "images as inputs": (pairs(0, 1, inputs=Image.new("L", (2, 2))), ["sample '0'", "PIL", "transform"]),
    "text as inputs": (pairs(0, 1, inputs="hello"), ["sample '0'", "str", "transform"]),
    "NaN": ([(torch.zeros(2), 0), (torch.tensor([0, torch.nan]), 1)], ["sample '1'", "nan", "[1]"]),
    "arrays of objects": ((np.array([[1], "a"], dtype=object), np.array([0, 1])), ["Python objects"]),
    "unequal arrays": ((torch.zeros(3, 1), torch.tensor([0, 1])), ["3 samples, but 2 labels"]),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_are_refused(case: str) -> None:
    dataset, fragments = OBJECTS[case]
    with pytest.raises(DataError) as caught:
        from_torch(dataset, source="mine")
    assert [part for part in ["mine", *fragments] if part not in str(caught.value)] == [], str(caught.value)


def test_inputs_of_two_shapes_are_refused_in_a_batch() -> None:
    dataset = from_torch([(torch.zeros(2), 0), (torch.zeros(3), 1), ((torch.zeros(2),), 1)])
    with pytest.raises(DataError, match=r"sample '1': the input is \[3\] float32, but .*sample '0' is \[2\]"):
        dataset.batch([0, 1])
    with pytest.raises(DataError, match=r"sample '2': the input is 0: \[2\] float32"):
        dataset.batch([0, 2])


def test_keys_for_files_are_refused_beside_an_object() -> None:
    with pytest.raises(ConfigError, match=r"data_args: is set, but does not apply to data in memory"):
        as_dataset(pairs(0, 1), Config(data_args={"root": "/data"}))


@given(st.lists(st.integers(-3, 6), min_size=2, max_size=12))
def test_numeric_labels_are_taken_as_they_are_or_refused(labels: list[int]) -> None:
    present = set(labels)
    # classes without samples are allowed; labels counted from 1 are told from them
    from_one = present == set(range(1, max(labels) + 1))
    usable = len(present) >= 2 and min(labels) >= 0 and max(labels) < len(labels) and not from_one
    data = (np.zeros((len(labels), 1)), np.array(labels))
    if usable:
        assert from_torch(data).labels.tolist() == labels
    else:
        with pytest.raises(DataError):
            from_torch(data)
