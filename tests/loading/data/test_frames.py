"""Data frames, pairs with a Series, and dictionaries as items: what a notebook has at hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cohaudit.config import Config
from cohaudit.errors import ConfigError, DataError
from cohaudit.loading.data import LabeledDataset, as_dataset, from_torch

FRAME = pd.DataFrame(
    {"width": [1.0, 2.0, 3.0, 4.0], "height": [5, 6, 7, 8], "kind": ["b", "a", "b", "a"]},
    index=["k3", "k1", "k2", "k0"],
)
NUMBERS = FRAME[["width", "height"]]
KINDS = FRAME["kind"]


def opened(data: Any, **settings: Any) -> LabeledDataset:
    return as_dataset(data, Config(**settings))


def test_a_frame_is_a_table_whose_index_names_the_samples() -> None:
    dataset = opened(FRAME, labels="kind")
    assert dataset.ids == ["k3", "k1", "k2", "k0"]
    assert dataset.index is not None
    assert dataset.index.equals(FRAME.index)
    assert (dataset.class_names, dataset.labels.tolist()) == (["a", "b"], [1, 0, 1, 0])
    assert torch.equal(dataset.batch([0, 3]), torch.tensor([[1.0, 5.0], [4.0, 8.0]]))
    assert dataset.column_names == ("width", "height")
    assert dataset.preview(2).row == {"width": "3.0", "height": "7"}


def test_ids_may_be_a_column_and_the_index_stays() -> None:
    dataset = opened(FRAME.assign(key=[7, 5, 3, 1]), labels="kind", ids="key", inputs="width")
    assert dataset.ids == ["7", "5", "3", "1"]
    assert dataset.index is not None
    assert dataset.index.tolist() == FRAME.index.tolist()
    assert torch.equal(dataset.batch([1]), torch.tensor([[2.0]]))


def test_a_function_turns_a_row_into_the_input() -> None:
    dataset = opened(FRAME, labels="kind", transform=lambda row: torch.tensor([row["width"] * row["height"]]))
    assert torch.equal(dataset.batch([0, 1]), torch.tensor([[5.0], [12.0]]))
    assert dataset.preparation == "transform <lambda>"


def test_a_frame_changed_later_changes_no_dataset() -> None:
    frame = FRAME.copy()
    dataset = opened(frame, labels="kind")
    frame.loc["k3", "width"] = 99.0
    assert torch.equal(dataset.batch([0]), torch.tensor([[1.0, 5.0]]))


def test_categories_are_the_classes_in_their_order() -> None:
    ordered = KINDS.astype(pd.CategoricalDtype(["b", "unused", "a"]))
    for dataset in (opened(FRAME.assign(kind=ordered), labels="kind"), opened((NUMBERS, ordered))):
        assert (dataset.class_names, dataset.labels.tolist()) == (["b", "a"], [0, 1, 0, 1])


@pytest.mark.parametrize(
    "labels", [KINDS, KINDS.to_numpy(), KINDS.tolist()], ids=lambda one: type(one).__name__
)
def test_labels_may_stand_beside_a_frame(labels: Any) -> None:
    beside, within = opened((NUMBERS, labels)), opened(FRAME, labels="kind")
    assert (beside.ids, beside.labels.tolist()) == (within.ids, within.labels.tolist())
    assert torch.equal(beside.batch([0, 1, 2, 3]), within.batch([0, 1, 2, 3]))


@pytest.mark.parametrize(
    "inputs",
    [NUMBERS.to_numpy(), NUMBERS.to_numpy().tolist(), torch.rand(4, 2)],
    ids=["array", "list", "tensor"],
)
def test_arrays_take_the_index_of_their_labels(inputs: Any) -> None:
    dataset = opened((inputs, KINDS))
    assert dataset.ids == FRAME.index.tolist()
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert torch.equal(dataset.batch([1]), torch.as_tensor(inputs[1]).float()[None])


def test_a_series_of_texts_goes_to_the_transform() -> None:
    texts = pd.Series(["ab", "c", "def", ""], index=FRAME.index)
    dataset = opened((texts, KINDS), transform=lambda text: torch.tensor([float(len(text))]))
    assert torch.equal(dataset.batch([0, 2]), torch.tensor([[2.0], [3.0]]))
    assert dataset.preview(2).text == "def"


def test_pictures_in_a_frame_are_shown() -> None:
    frame = pd.DataFrame({"image": [Image.new("L", (2, 2), shade) for shade in (0, 255)], "label": [0, 1]})
    dataset = opened(frame, transform=lambda row: torch.from_numpy(np.array(row["image"])) / 255)
    assert [dataset.preview(i).kind for i in (0, 1)] == ["image", "image"]


@given(st.permutations(range(6)))
def test_the_fingerprint_covers_inputs_labels_and_their_order(order: list[int]) -> None:
    frame = pd.DataFrame({"x": np.arange(6.0), "label": [0, 1, 0, 1, 0, 1]})
    plain, moved = opened(frame), opened(frame.iloc[order])
    assert (moved.fingerprint == plain.fingerprint) == (order == list(range(6)))
    assert opened(frame.assign(label=[1, 0, 0, 1, 0, 1])).fingerprint != plain.fingerprint


REFUSED: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "another order": ((NUMBERS, KINDS.iloc[::-1]), {}, ["index differs", "labels.loc[inputs.index]"]),
    "a repeated index": (FRAME.set_axis([1, 1, 2, 3]), {"labels": "kind"}, ["has 1 twice", "reset_index"]),
    "two columns of a name": (
        FRAME.set_axis(["a", "a", "kind"], axis=1),
        {"labels": "kind"},
        ["two columns 'a'"],
    ),
    "no such column": (FRAME, {"labels": "sort"}, ["the DataFrame has 'width'"]),
    "too few labels": ((NUMBERS, [0, 1, 0]), {}, ["4 samples"]),
    "one-hot": ((NUMBERS, np.eye(4)), {}, ["shape is [4, 4]", "argmax"]),
    "NaN": (FRAME.assign(width=[1, np.nan, 3, 4]), {"labels": "kind"}, ["'k1'", "missing", "width"]),
    "text": (FRAME.assign(width=list("wxyz")), {"labels": "kind"}, ["'k3'", "'w' is not a number"]),
    "ragged lists": (([[1.0], [1.0, 2.0]], [0, 1]), {}, ["inputs", "no array"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_frames_are_refused(case: str) -> None:
    data, settings, fragments = REFUSED[case]
    with pytest.raises(DataError) as caught:
        opened(data, **settings)
    assert [part for part in fragments if part not in str(caught.value)] == [], str(caught.value)


def test_two_samples_in_lists_are_no_pair_of_arrays() -> None:
    assert from_torch(([torch.zeros(2), 0], [torch.ones(2), 1])).labels.tolist() == [0, 1]


class Items(list[dict[str, Any]]):
    """Items and features as those of a Hugging Face data set."""

    features: ClassVar = {"labels": SimpleNamespace(names=["no", "yes"])}


ITEMS = Items(
    {"input_ids": [1, 2, i], "mask": np.ones(3), "labels": i % 2, "key": f"q{i}", "text": "a" * i}
    for i in range(4)
)


def test_items_of_a_hugging_face_data_set_are_read() -> None:
    dataset = opened(ITEMS, inputs=["input_ids", "mask"], ids="key")
    assert (dataset.class_names, dataset.labels.tolist()) == (["no", "yes"], [0, 1, 0, 1])
    assert dataset.ids == ["q0", "q1", "q2", "q3"]
    batch = dataset.batch([0, 3])
    assert isinstance(batch, dict)
    assert batch["input_ids"].tolist() == [[1, 2, 0], [1, 2, 3]]
    assert batch["mask"].dtype == torch.float32


def test_an_item_is_what_a_transform_gets() -> None:
    dataset = opened(ITEMS, inputs=["text"], transform=lambda item: torch.tensor([float(len(item["text"]))]))
    assert torch.equal(dataset.batch([2, 3]), torch.tensor([[2.0], [3.0]]))
    assert dataset.preview(3).text == "aaa"


def test_items_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"has no labels under a usual name .*it has 'input'"):
        opened([{"input": torch.zeros(2), "intent": 0}])
    with pytest.raises(DataError, match=r"sample '1'.*returned the keys input_ids\n.*with the keys labels"):
        opened([ITEMS[0], {"input_ids": [1, 2, 3]}], inputs=["input_ids"])
    with pytest.raises(DataError, match="input is of type str, not a tensor"):
        opened(ITEMS)
    with pytest.raises(DataError, match=r"is a dictionary, of 'train', 'test'"):
        opened({"train": ITEMS, "test": ITEMS})
    with pytest.raises(ConfigError, match="labels: is set, but does not apply to pairs"):
        opened([(torch.zeros(1), 0), (torch.ones(1), 1)], labels="y")
