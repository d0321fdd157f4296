"""Where a sample lies: the file, and the line of its row as an editor counts it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from cohaudit.config import Config
from cohaudit.loading.data import as_dataset, open_dataset
from cohaudit.loading.data._table_files import first_lines, read_table

CELL = st.text(st.sampled_from("ab,\"\n\r #'"), max_size=6)
BLANK = st.sampled_from(["", " ", "\t "])


def lines_by_csv(content: str) -> list[int]:
    """Return where each row begins, as the standard library's reader counts; it reads blank lines as rows."""
    reader = csv.reader(io.StringIO(content.removeprefix("\ufeff"), newline=""))
    begun, lines = 1, []
    for row in reader:
        if any(cell.strip(" \t") for cell in row) or len(row) > 1:
            lines.append(begun)
        begun = reader.line_num + 1
    return lines[1:]


def quoted(cells: tuple[str, str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


@settings(max_examples=300)
@given(
    rows=st.lists(st.one_of(BLANK, st.tuples(CELL, CELL)), max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    last=st.booleans(),
)
def test_rows_begin_where_the_standard_library_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[str | tuple[str, str]],
    end: str,
    bom: bool,
    last: bool,
) -> None:
    written = ['a,"label"', *(row if isinstance(row, str) else quoted(row) for row in rows)]
    content = "\ufeff" * bom + end.join(written) + end * last
    path = tmp_path_factory.mktemp("table") / "train.csv"
    path.write_bytes(content.encode())
    found = first_lines(path)
    assert found == lines_by_csv(content)
    assert len(found) == len(read_table(path))


def opened(tmp_path: Path, content: str, name: str = "train.csv") -> list[int]:
    path = tmp_path / name
    path.write_bytes(content.encode())
    dataset = open_dataset(Config(data=name, base=tmp_path))
    places = [dataset.place(i) for i in range(len(dataset))]
    assert {file for file, _ in places} == {path}
    return [line for _, line in places]


def test_the_line_of_a_row_is_that_of_the_file(tmp_path: Path) -> None:
    content = '\ufeff\r\nid,x,label\r\n"a\r\nb",1,0\r\n\r\n  \r\nc,2,1\r\n#d,3,0\r\n"e\n\n",4,1'
    assert opened(tmp_path, content) == [3, 7, 8, 9]


def test_the_header_may_have_several_lines(tmp_path: Path) -> None:
    assert opened(tmp_path, '"x\ny",label\n1,0\n2,1\n') == [3, 4]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_of_json_is_a_line_of_the_file(tmp_path: Path, end: str) -> None:
    lines = [
        "",
        '{"x": 1, "label": "a\u2028b"}',
        " \t",
        '{"x": 2, "label": "c\\nd"}',
        "",
        '{"x": 3, "label": "e"}',
    ]
    assert opened(tmp_path, end.join(lines), "train.jsonl") == [2, 4, 6]
    assert opened(tmp_path, "\ufeff" + end.join(lines[1:]) + end, "train.jsonl") == [1, 3, 5]


def test_a_row_that_changed_place_since_it_was_read_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("x,label\n1,0\n2,1\n")
    dataset = open_dataset(Config(data="train.csv", base=tmp_path))
    path.write_text("x,label\n1,0\n")
    assert dataset.place(1) == (path, 0)


def test_what_has_no_lines(tmp_path: Path) -> None:
    inputs, labels = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "train.npz", inputs=inputs, labels=labels)
    assert open_dataset(Config(data="train.npz", base=tmp_path)).place(2) == (tmp_path / "train.npz", 0)
    for name in ("cat/one 1.png", "dog/two.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "photos" / name)
    photos = open_dataset(Config(data="photos", base=tmp_path))
    assert photos.place(0) == (tmp_path / "photos" / "cat" / "one 1.png", 0)
    pairs = TensorDataset(torch.tensor(inputs), torch.tensor(labels))
    assert as_dataset(pairs, Config()).place(0) == (None, 0)


def test_what_code_makes_lies_in_the_code(tmp_path: Path) -> None:
    code = "import torch\ndef make():\n    return torch.eye(4), torch.tensor([0, 1, 0, 1])\n"
    (tmp_path / "places_data.py").write_text(code)
    dataset = open_dataset(Config(data="places_data.py:make", base=tmp_path))
    assert dataset.place(0) == (tmp_path / "places_data.py", 0)
