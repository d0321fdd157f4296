"""What each kind of dataset gives: inputs, labels, ids, class names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_datasets import KINDS, write_arrays, write_code, write_csv, write_jsonl

from cohaudit.config import Config
from cohaudit.loading.data import LabeledDataset, as_dataset, from_torch, open_dataset
from cohaudit.loading.data._describe import describe_inputs

FIXTURES = Path(__file__).parents[2] / "fixtures"


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
            "1×4×5 float32 from 0 to 0.4667 (in 6 samples); uint8 images scaled by 1/255, no transform",
        ),
        ("npz with a transform", "2 float32 from 0 to 5.5 (in 6 samples); transform code.py:halve"),
        ("csv", "2 float32 from -5 to 5.5 (in 6 samples); columns a … b, no transform"),
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


def test_tumors_fixture() -> None:
    keys = {"labels": "diagnosis", "class_names": ("malignant", "benign")}
    dataset = open_dataset(Config(data="train.csv", base=FIXTURES / "tumors", **keys))
    truth = pd.read_csv(FIXTURES / "tumors" / "truth.csv")
    table = pd.read_csv(FIXTURES / "tumors" / "train.csv")
    assert dataset.ids == truth["id"].tolist()
    assert [dataset.class_names[label] for label in dataset.labels] == truth["given"].tolist()
    assert dataset.class_names == ["malignant", "benign"]
    expected = table.drop(columns=["id", "diagnosis"]).to_numpy(dtype=np.float32)
    batch = dataset.batch(range(len(dataset)))
    assert isinstance(batch, torch.Tensor)
    assert torch.equal(batch, torch.from_numpy(expected))


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


def test_a_csv_keeps_what_was_written(tmp_path: Path) -> None:
    text = "\ufeffID,a,flag,target\n007,1.10,True,None\n008,2e3,False,ok\n"
    dataset = open_dataset(write_csv(tmp_path, text, class_names=("ok", "None")))
    assert dataset.ids == ["007", "008"]
    assert dataset.labels.tolist() == [1, 0]
    assert dict(dataset.preview(1).row) == {"a": "2e3", "flag": "False"}
    assert torch.equal(dataset.batch([0, 1]), torch.tensor([[1.10, 1.0], [2000.0, 0.0]]))


def test_a_csv_takes_the_columns_and_order_asked_for(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "a,b,c,label\n1,2,x,0\n3,4,y,1\n", inputs=("b", "a"))
    dataset = open_dataset(config)
    assert dataset.ids == ["0", "1"]
    assert torch.equal(dataset.batch([1]), torch.tensor([[4.0, 3.0]]))


def test_a_transform_gets_numbers_and_text_of_a_row(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "import torch\n"
        "def row(row):\n"
        "    assert (row['width'], row['color']) in {(1.5, 'red'), (2, 'blue')}\n"
        "    return torch.ones(1)\n"
    )
    write_csv(tmp_path, "width,color,label\n1.5,red,0\n2,blue,1\n")
    dataset = open_dataset(Config(data="data.csv", base=tmp_path, transform="t.py:row"))
    assert torch.equal(dataset.batch([1, 0]), torch.ones(2, 1))


def test_one_text_column_is_shown_as_text(tmp_path: Path) -> None:
    write_csv(tmp_path, f"text,label\nshort,0\n{'long ' * 100},1\n")
    (tmp_path / "t.py").write_text("import torch\ndef row(row): return torch.tensor([len(row['text'])])\n")
    dataset = open_dataset(Config(data="data.csv", base=tmp_path, transform="t.py:row"))
    assert dataset.preview(0).kind == "text"
    assert dataset.preview(0).text == "short"
    assert dataset.preview(1).text.endswith("…")
    assert len(dataset.preview(1).text) <= 301


def test_a_named_parquet_index_is_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2], "y": [0, 1]}, index=pd.Index(["r", "s"], name="id")).to_parquet(
        tmp_path / "t.parquet"
    )
    dataset = open_dataset(Config(data="t.parquet", base=tmp_path))
    assert dataset.ids == ["r", "s"]
    assert torch.equal(dataset.batch([0, 1]), torch.tensor([[1.0], [2.0]]))


def test_other_previews(opened: dict[str, LabeledDataset]) -> None:
    assert opened["image folder with a transform"].preview(0).kind == "image"
    assert opened["torch dataset of dicts"].preview(0).kind == "none"
    assert opened["torch dataset of tensors"].preview(1).text == "2 3"
    assert dict(opened["parquet"].preview(0).row) == {"a": "1.5", "b": "True"}


def test_a_jsonl_gives_what_the_same_csv_gives(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": ["p", "q", "r"], "a": [1.5, -2, 3e-7], "b": [1, 2, 3], "c": [True, False, True]}
    )
    frame = frame.assign(label=["ant", "bée", "ant"])
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_json(tmp_path / "data.jsonl", orient="records", lines=True, double_precision=15)
    table, lines = (open_dataset(Config(data=f"data.{end}", base=tmp_path)) for end in ("csv", "jsonl"))
    assert (lines.ids, lines.class_names) == (table.ids, table.class_names)
    assert lines.labels.tolist() == table.labels.tolist()
    assert torch.equal(lines.batch([0, 1, 2]), table.batch([0, 1, 2]))
    assert dict(lines.preview(1).row) == {"a": "-2.0", "b": "2", "c": "False"}


def test_a_transform_gets_the_values_of_a_line_as_they_are(tmp_path: Path) -> None:
    write_code(tmp_path)
    with (tmp_path / "code.py").open("a") as code:
        code.write("\ndef keep(row): return torch.tensor([len(repr(row))])\n")
    config = write_jsonl(
        tmp_path,
        '{"zip": "007", "n": 5, "flag": true, "note": "a", "y": 0, "huge": 36893488147419103232}',
        '{"y": 1, "note": null, "n": null, "zip": "NA", "flag": false, "late": 2, "huge": 1}',
        transform="code.py:keep",
    )
    dataset = open_dataset(config)
    assert dataset.columns == ("zip", "n", "flag", "note", "huge", "late")
    seen = [repr(row) for row in dataset._rows.table.to_dict("records")]
    assert seen == [
        "{'zip': '007', 'n': 5.0, 'flag': True, 'note': 'a', 'huge': 36893488147419103232, 'late': nan}",
        "{'zip': 'NA', 'n': nan, 'flag': False, 'note': None, 'huge': 1, 'late': 2.0}",
    ]
    assert dataset.batch([0, 1]).flatten().tolist() == [len(row) for row in seen]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [((), [1, 0, 1]), (("no", "yes"), [1, 0, 1]), (("true", "false"), [0, 1, 0])],
)
def test_boolean_labels_go_by_number_or_by_name(
    tmp_path: Path, names: tuple[str, ...], numbers: list[int]
) -> None:
    lines = (f'{{"a": 1, "label": {label}}}' for label in ("true", "false", "true"))
    dataset = open_dataset(write_jsonl(tmp_path, *lines, class_names=names))
    assert dataset.labels.tolist() == numbers
    assert dataset.class_names == list(names or ("0", "1"))
