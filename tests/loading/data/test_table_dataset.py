"""Tables as datasets: what .csv, .jsonl and .parquet files give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FIXTURES
from support.small_datasets import write_code, write_csv, write_jsonl

from cohaudit.config import Config
from cohaudit.loading.data import open_dataset


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
