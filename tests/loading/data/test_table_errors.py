"""Tables that cannot be audited are refused, with the line of a .jsonl."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from support.refused_data import ROW, Make, assert_refused, csv, file, jsonl, parquet

from cohaudit.errors import MissingExtraError
from cohaudit.loading.data import open_dataset

CASES: dict[str, tuple[Make, list[str]]] = {
    # tables
    "empty csv": (csv(""), ["data.csv", "empty"]),
    "csv with a header only": (csv("a,label\n"), ["no sample"]),
    "binary csv": (csv(b"PK\x03\x04\0\0\0"), ["data.csv", "binary"]),
    "csv in Latin-1": (csv("a,label\né,0\n".encode("latin-1")), ["data.csv", "UTF-8"]),
    "csv with a long row": (csv("a,label\n1,0\n1,2,3\n"), ["not a table", "line 3"]),
    "csv with an open quote": (csv('a,label\n"1,0\n2,1\n'), ["not a table", "EOF inside string"]),
    "csv with a short row": (csv("a,b,label\n1,2,0\n3\n"), ["sample '1'", "'label'", "missing (empty)"]),
    "column without name": (csv(",a,label\n0,1,0\n1,2,1\n"), ["column 0", "no name"]),
    "column twice": (csv("a,a,label\n0,1,0\n"), ["'a'", "occurs twice"]),
    "no label column": (csv("a,b\n1,2\n"), ["no labels", "'a', 'b'", "with labels (--labels)"]),
    "two label columns": (csv("y,label\n1,2\n"), ["several candidates for labels: y, label"]),
    "unknown input column": (
        csv("a,label\n1,0\n", inputs=("b",)),
        ["inputs (--inputs) = 'b'", "use one of a, label"],
    ),
    "label among the inputs": (
        csv("a,label\n1,0\n", inputs=("a", "label")),
        ["the label column 'label' is among them"],
    ),
    "no input column": (csv("id,label\n1,0\n"), ["no column is left besides 'label'"]),
    "text in a column": (
        csv("id,a,b,label\np,1,2,0\nq,3,big,1\n"),
        ["sample 'q' (row 1)", "column 'b'", "'big' is not a number", "transform"],
    ),
    "missing value": (csv("a,b,label\n1,2,0\n3,NA,1\n"), ["sample '1'", "column 'b'", "missing (NA)"]),
    "infinite value": (csv("a,label\n1,0\n-inf,1\n"), ["sample '1'", "'a'", "infinite (-inf)"]),
    "value beyond float32": (
        csv("a,label\n1,0\n1e300,1\n"),
        ["sample '1'", "1e300 is too large for float32"],
    ),
    "missing label": (csv("id,a,label\np,1,x\nq,2,\n"), ["sample 'q' (row 1)", "'label'", "missing"]),
    "label that may mean missing": (csv("a,label\n1,x\n2,None\n"), ["missing (None)", "class_names"]),
    "regression target": (csv("a,y\n1,0.5\n2,1.5\n"), ["sample '0'", "0.5", "not an integer"]),
    "duplicate ids in a table": (csv("id,a,y\np,1,0\np,2,1\n"), ["'p'", "rows 0 and 1"]),
    "missing id": (csv("id,a,y\np,1,0\n,2,1\n"), ["row 1", "id is empty"]),
    # JSON Lines
    "empty jsonl": (jsonl("\ufeff\n \t\r\n"), ["data.jsonl", "empty", "object on each line"]),
    "jsonl that is no JSON": (
        jsonl(ROW, "", '{"a": 1,}'),
        ["data.jsonl:3", "not valid JSON: ", "column 9", "lines=True"],
    ),
    "jsonl without line ends": (jsonl(ROW + ROW), ["data.jsonl:1", "not valid JSON: Extra data"]),
    "JSON over several lines": (
        jsonl("[", ROW, "]"),
        ["data.jsonl:1", "not valid JSON", "one object on each line"],
    ),
    "jsonl of an array": (jsonl(ROW, "[1, 0]"), ["data.jsonl:2", "an array, not an object"]),
    "jsonl of a number": (jsonl(ROW, "17"), ["data.jsonl:2", "a number, not an object"]),
    "jsonl of null": (jsonl("null"), ["data.jsonl:1", "null, not an object"]),
    "jsonl of a list": (
        jsonl(ROW, '{"a": [1, 2], "label": 1}'),
        ["data.jsonl:2, key 'a'", "an array, but", ".npz", "file.py:function"],
    ),
    "jsonl of an object": (
        jsonl(ROW, '{"a": {}, "label": 1}'),
        ["data.jsonl:2, key 'a'", "an object, but", "its own key"],
    ),
    "jsonl nested without end": (jsonl("[" * 200_000), ["data.jsonl:1", "object on each line"]),
    "key twice": (jsonl(ROW, '{"a": 1, "a": 2, "label": 1}'), ["data.jsonl:2", "'a' occurs twice"]),
    "jsonl with NaN": (jsonl(ROW, '{"a": NaN, "label": 1}'), ["data.jsonl:2, key 'a'", "NaN", "null"]),
    "jsonl with -Infinity": (jsonl(ROW, '{"a": -Infinity, "label": 1}'), ["data.jsonl:2", "infinite"]),
    "jsonl beyond a float": (jsonl(ROW, '{"a": 1e999, "label": 1}'), ["data.jsonl:2", "too large"]),
    "jsonl with an endless integer": (
        jsonl(ROW, '{"a": ' + "9" * 5000 + "}"),
        ["data.jsonl:2", "5000 digits", "correct the number"],
    ),
    "jsonl beyond float32": (
        jsonl(ROW, '{"a": ' + "9" * 50 + ', "label": 1}'),
        ["sample '1', column 'a'", "too large for float32"],
    ),
    "jsonl with half a character": (
        jsonl(ROW, r'{"a": 1, "label": "\ud83d"}'),
        ["data.jsonl:2, key 'label'", "half a character"],
    ),
    "jsonl in UTF-16": (file("data.jsonl", ROW.encode("utf-16")), ["data.jsonl", "not UTF-8"]),
    "jsonl with null": (jsonl(ROW, '{"a": null, "label": 1}'), ["sample '1', column 'a'", "missing"]),
    "jsonl that lacks a key": (jsonl(ROW, '{"label": 1}'), ["sample '1', column 'a'", "missing"]),
    "jsonl without a label": (jsonl(ROW, '{"a": 2}'), ["sample '1', column 'label'", "label is missing"]),
    "jsonl with a text": (jsonl(ROW, '{"a": "big", "label": 1}'), ["'a'", "'big' is not a number"]),
    "key without a name": (jsonl('{"": 1, "label": 0}'), ["column 0", "no name"]),
    "damaged parquet": (file("data.parquet", b"PAR1 no"), ["data.parquet", "Parquet"]),
    "parquet with a missing value": (
        parquet(a=pd.array([1, None], dtype="Int64"), y=[0, 1]),
        ["sample '1'", "column 'a'", "missing"],
    ),
    "parquet with a missing label": (parquet(a=[1, 2], y=["p", None]), ["sample '1'", "'y'", "missing"]),
    "parquet with lists": (parquet(a=[[1, 2], [3]], y=[0, 1]), ["column 'a'", "not a number"]),
    "parquet with dates": (
        parquet(a=pd.to_datetime(["2020-01-01"] * 2), y=[0, 1]),
        ["column 'a'", "not a number"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_tables_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, fragments = CASES[case]
    config = make(tmp_path)
    assert_refused(lambda: open_dataset(config), fragments)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parquet(a=[1, 2], y=[0, 1])(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cohaudit\[parquet\]'"):
        open_dataset(config)
