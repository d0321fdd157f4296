"""Every dataset that cannot be audited is refused with a message that names the place and the remedy."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cohaudit.config import Config
from cohaudit.errors import BAD_INPUT, ConfigError, DataError, MissingExtraError
from cohaudit.loading.data import open_dataset

X = np.arange(8.0).reshape(4, 2)
Y = [0, 1, 1, 0]

CODE = """
import random, torch
def fails(): raise RuntimeError("no such split")
def needs(split): return []
def pair(): return [(torch.zeros(1), 0)], [(torch.zeros(1), 1)]
def nothing(): return None
def noisy(x): return torch.from_numpy(x) + random.random()
def broken(x): return x["missing"]
def text(x): return "text"
def forgets(x): torch.from_numpy(x)
def nan(x): return torch.tensor([float("nan")])
"""

Make = Callable[[Path], Config]


def npz(**arrays: Any) -> Make:
    keys = {key: arrays.pop(key) for key in ("inputs", "labels", "ids", "class_names") if key in arrays}

    def make(folder: Path) -> Config:
        np.savez(folder / "data.npz", **{"x": X, "y": Y} | arrays)
        (folder / "code.py").write_text(CODE)
        return Config(data="data.npz", base=folder, **keys)

    return make


def transformed(name: str) -> Make:
    def make(folder: Path) -> Config:
        npz()(folder)
        return Config(data="data.npz", base=folder, transform=f"code.py:{name}")

    return make


def csv(text: str | bytes, **keys: Any) -> Make:
    def make(folder: Path) -> Config:
        (folder / "data.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return Config(data="data.csv", base=folder, **keys)

    return make


ROW = '{"a": 1, "label": 0}'


def jsonl(*lines: str, **keys: Any) -> Make:
    return file("data.jsonl", "\n".join(lines).encode(), **keys)


def file(name: str, content: bytes = b"", **keys: Any) -> Make:
    def make(folder: Path) -> Config:
        (folder / name).write_bytes(content)
        return Config(data=name, base=folder, **keys)

    return make


def truncated_npz(folder: Path) -> Config:
    config = npz()(folder)
    whole = (folder / "data.npz").read_bytes()
    (folder / "data.npz").write_bytes(whole[: len(whole) // 2])
    return config


def damaged_npz(folder: Path) -> Config:
    config = npz()(folder)
    whole = bytearray((folder / "data.npz").read_bytes())
    at = whole.index(X.tobytes())
    whole[at] ^= 0xFF
    (folder / "data.npz").write_bytes(whole)
    return config


def endless_npz(folder: Path) -> Config:
    npz()(folder)
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999,), }"
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        archive.writestr("y.npy", b"")
    return Config(data="data.npz", base=folder)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("opened"),)


def truncated_safetensors(folder: Path) -> Config:
    save_file({"x": torch.zeros(4, 2), "y": torch.tensor(Y)}, folder / "data.safetensors")
    whole = (folder / "data.safetensors").read_bytes()
    (folder / "data.safetensors").write_bytes(whole[:-4])
    return Config(data="data.safetensors", base=folder)


def parquet(**columns: Any) -> Make:
    def make(folder: Path) -> Config:
        pd.DataFrame(columns).to_parquet(folder / "data.parquet")
        return Config(data="data.parquet", base=folder)

    return make


def images(**files: Any) -> Make:
    """Write `class__name` → bytes, size of a grey image, or None for an empty class folder."""

    def make(folder: Path) -> Config:
        for name, content in ({"ant__a": (4, 4), "bee__b": (4, 4)} | files).items():
            path = folder / "pictures" / f"{name.replace('__', '/')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                Image.new("L", content).save(path)
        return Config(data="pictures", base=folder)

    return make


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    return buffer.getvalue()


def factory(name: str, **keys: Any) -> Make:
    def make(folder: Path) -> Config:
        (folder / "code.py").write_text(CODE)
        return Config(data=f"code.py:{name}", base=folder, **keys)

    return make


OPENING: dict[str, tuple[Make, list[str]]] = {
    "data not set": (lambda folder: Config(), ["data", "--data"]),
    "missing file": (
        lambda folder: Config(data="trian.npz", base=npz()(folder).base),
        ["trian.npz", "no such file"],
    ),
    "missing folder": (
        lambda folder: Config(data="no/train.npz", base=folder),
        ["no such file", "check the path", "no is not a folder"],
    ),
    "missing file beside others": (
        lambda folder: (file("notes.txt")(folder), Config(data="train.npz", base=folder))[1],
        ["no such file", "has no training data"],
    ),
    "unknown extension": (file("data.tsv"), ["data.tsv", "'.tsv'", ".csv"]),
    "no extension": (file("data"), ["has no extension", ".npz"]),
    "key without meaning": (file("data.csv", data_args={"a": 1}), ["data_args", "does not apply", "leave"]),
    # arrays
    "truncated npz": (truncated_npz, ["data.npz", "truncated", "complete"]),
    "empty npz": (file("data.npz"), ["data.npz", "not a .npz archive"]),
    "damaged npz": (damaged_npz, ["data.npz", "'x'", "CRC"]),
    "npz with a false header": (endless_npz, ["data.npz", "'x'", "cannot be read"]),
    "pickle named npz": (file("data.npz", pickle.dumps(Bomb())), ["data.npz", "not a .npz archive"]),
    "npz of pickled objects": (npz(x=np.array([Bomb()] * 4)), ["'x'", "pickled", "refused", "astype"]),
    "truncated safetensors": (truncated_safetensors, ["data.safetensors", "cannot be read"]),
    "empty safetensors": (file("data.safetensors"), ["data.safetensors", "cannot be read"]),
    "no array of inputs": (
        lambda folder: (np.savez(folder / "d.npz", a=X, y=Y), Config(data="d.npz", base=folder))[1],
        ["no inputs", "'a' [4, 2] float64", "'y' [4] int64", "with inputs (--inputs)"],
    ),
    "two arrays of inputs": (
        npz(images=X),
        ["several candidates for inputs: x, images", "(--inputs)"],
    ),
    "unknown array": (npz(labels="yy"), ["labels (--labels) = 'yy'", "'y' [4] int64", "did you mean y"]),
    "several arrays as inputs": (npz(inputs=("x", "y")), ["inputs", "2 arrays"]),
    "flat uint8": (npz(x=np.zeros((4, 9), np.uint8)), ["uint8", "[4, 9]", "float32"]),
    "ambiguous channels": (npz(x=np.zeros((4, 3, 5, 3), np.uint8)), ["channels first or channels last"]),
    "inputs of text": (npz(x=np.array(["a"] * 4)), ["inputs", "transform"]),
    "one number as inputs": (npz(x=np.array(1.0), id=[1]), ["a single value"]),
    "length mismatch": (npz(y=[0, 1]), ["4 samples, but 2 labels"]),
    "ids of another length": (npz(id=[1, 2]), ["ids", "the shape (2,)", "4 samples"]),
    "duplicate ids": (npz(id=["a", "b", "a", "c"]), ["'a'", "rows 0 and 2", "unique"]),
    "empty id": (npz(id=["a", "b", "", "c"]), ["row 2", "empty"]),
    "empty dataset": (npz(x=X[:0], y=[]), ["no sample"]),
    # labels
    "one-hot": (npz(y=np.eye(4)), ["[4, 4]", "one-hot", "argmax"]),
    "labels of three dimensions": (npz(y=np.zeros((4, 1, 1))), ["[4, 1, 1]", "[N]"]),
    "label that is no integer": (npz(y=[0, 1, 0.5, 1]), ["sample '2'", "0.5", "not an integer"]),
    "label NaN": (npz(y=[0, 1, np.nan, 1]), ["sample '2'", "missing"]),
    "complex labels": (npz(y=np.array([0, 1, 1j, 1])), ["complex128"]),
    "negative label": (npz(y=[0, 1, -1, 1], id=list("pqrs")), ["sample 'r' (row 2)", "-1", "negative"]),
    "label out of range": (npz(y=[0, 1, 2, 1], class_names=("a", "b")), ["sample '2'", "label 2", "2 names"]),
    "label far out of range": (npz(y=[0, 1, 10**12, 1]), ["sample '2'", "only 4 samples"]),
    "unknown label": (
        npz(y=["ant", "bee", "cat", "bat"], class_names=("ant", "bee", "cat")),
        ["sample '3'", "'bat'", "did you mean cat or ant? If the model", "(--class-names)."],
    ),
    "unknown label, like no other": (
        npz(y=["ant", "bee", "cat", "xyz"], class_names=("ant", "bee", "cat")),
        ["sample '3'", "use one of ant, bee, cat. If the model"],
    ),
    "empty class in the middle": (npz(y=[0, 2, 2, 0]), ["no sample has the label 1", "up to 2"]),
    "labels from 1": (npz(y=[1, 2, 2, 1]), ["no sample has the label 0", "subtract 1"]),
    "empty named class": (npz(class_names=("a", "b", "c")), ["class 'c'", "no sample"]),
    "one class": (npz(y=[0, 0, 0, 0]), ["only one class", "two classes"]),
    "class named twice": (npz(class_names=("a", "a")), ["class_names", "'a' occurs twice"]),
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
        ["inputs: include the label column"],
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
    # images
    "folder without class folders": (
        lambda folder: Config(data=".", base=npz()(folder).base),
        ["no class folders", "the name of the class"],
    ),
    "image outside a class folder": (images(stray=(4, 4)), ["stray.png", "outside the class folders"]),
    "empty class folder": (images(cat__x=None), ["cat", "no image"]),
    "images of two sizes": (images(bee__c=(6, 5)), ["'bee/c.png'", "6×5", "'ant/a.png' is 4×4", "transform"]),
    "no image": (images(bee__c=b"notes"), ["bee/c.png", "not a readable image"]),
    "empty image": (images(bee__c=b""), ["bee/c.png", "not a readable image"]),
    "truncated image": (images(ant__a=png(), bee__b=png()[:2000]), ["bee/b.png", "truncated"]),
    # factories
    "failing factory": (factory("fails"), ["code.py:fails", "RuntimeError: no such split"]),
    "factory with wrong arguments": (
        factory("needs", data_args={"splt": 1}),
        ["code.py:needs", "splt", "split"],
    ),
    "unknown factory": (factory("fail"), ["code.py", "'fail'", "fails"]),
    "factory of two datasets": (factory("pair"), ["class names"]),
    "factory of nothing": (factory("nothing"), ["NoneType", "__getitem__"]),
    "keys beside a factory": (factory("fails", labels="y"), ["labels", "factory"]),
    # transforms
    "random transform": (transformed("noisy"), ["sample '0'", "differs each time", "augmentation"]),
    "failing transform": (transformed("broken"), ["code.py:broken", "sample '0'", "IndexError"]),
    "transform to text": (transformed("text"), ["code.py:text", "str", "return a tensor from text"]),
    "transform without a return": (
        transformed("forgets"),
        ["code.py:forgets", "None", "return a tensor from forgets: its `return` may be missing"],
    ),
}


@pytest.mark.parametrize("case", OPENING)
def test_opening_is_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, fragments = OPENING[case]
    config = make(tmp_path)
    with pytest.raises((DataError, ConfigError)) as caught:
        open_dataset(config)
    assert [part for part in fragments if part not in str(caught.value)] == [], str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert caught.value.remedy
    assert not Path("opened").exists()


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parquet(a=[1, 2], y=[0, 1])(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cohaudit\[parquet\]'"):
        open_dataset(config)


READING: dict[str, tuple[Make, list[str]]] = {
    "NaN": (npz(x=np.array([[1, 2], [3, np.nan], [5, 6], [7, 8]]), id=list("pqrs")), ["'q'", "nan", "[1]"]),
    "infinity": (npz(x=np.array([[1, 2], [3, 4], [-np.inf, 6], [7, 8]])), ["sample '2'", "-inf", "[0]"]),
    "beyond float32": (
        npz(x=np.array([[1, 2], [3, 4], [5, 1e300], [7, 8]])),
        ["sample '2'", "inf", "float32"],
    ),
    "NaN from a transform": (transformed("nan"), ["sample '0'", "nan"]),
}


@pytest.mark.parametrize("case", READING)
def test_reading_is_refused(case: str, tmp_path: Path) -> None:
    make, fragments = READING[case]
    dataset = open_dataset(make(tmp_path))
    with pytest.raises(DataError) as caught:
        dataset.batch(range(len(dataset)))
    assert [part for part in fragments if part not in str(caught.value)] == [], str(caught.value)
