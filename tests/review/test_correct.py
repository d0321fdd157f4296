"""A corrected copy: the labels that change, everything that does not, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.audits import make_audit
from support.folders import IS_ROOT, left_behind
from support.scanning import scan
from support.small_datasets import write_arrays, write_code, write_csv, write_images, write_jsonl

from cohaudit.cli import main
from cohaudit.config import Config
from cohaudit.loading.data import hash_original, open_dataset
from cohaudit.loading.data._jsonl import value_span
from cohaudit.loading.data.originals import CsvOriginal
from cohaudit.results import Audit
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit
from cohaudit.review.export import export


def audit_of(config: Config, suggested: Mapping[str, str], known: slice = slice(None)) -> Audit:
    """Return an audit of a dataset in which some samples are suspects; of part of it when `known` says so."""
    dataset = open_dataset(config)
    names = dataset.class_names
    base = make_audit(samples=len(dataset), classes=len(names), suspects=0)
    given_labels = [names[label] for label in dataset.labels]
    samples = base.samples.head(len(dataset)).assign(
        id=dataset.ids,
        label=given_labels,
        predicted=given_labels,
        suggested=[suggested.get(i, label) for i, label in zip(dataset.ids, given_labels, strict=True)],
        suspect=[i in suggested for i in dataset.ids],
        suspicion=[0.9 if i in suggested else 0.1 for i in dataset.ids],
        suggestion=0.9,
        duplicate_of="",
    )
    return replace(
        base,
        samples=samples[known].reset_index(drop=True),
        classes=tuple(replace(one, name=name) for one, name in zip(base.classes, names, strict=True)),
        subject=replace(base.subject, data=config.data, data_fingerprint=dataset.fingerprint),
        settings={"labels": config.labels, "ids": config.ids, "class_names": config.class_names},
        evidence=(),
        questions=(),
        previews={},
    )


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["correct", *map(str, arguments)])


def corrected(config: Config, suggested: Mapping[str, str], *options: object, **keys: Any) -> Path:
    """Correct a dataset by the command, and return the copy."""
    path = config.base / "audit.json"
    path.write_text(audit_to_json(audit_of(config, suggested, **keys)), encoding="utf-8")
    data = config.base / config.data
    out = config.base / f"new{data.suffix}"
    before = left_behind(config.base)
    result = command(path, "--data", data, "--out", out, *options)
    assert result.exit_code == 0, result.output
    after = left_behind(config.base)
    assert {name: after[name] for name in before} == before
    made = {Path(name).parts[0] for name in after.keys() - before.keys()}
    assert made == {out.name, f"{out.name}.changes.csv", f"{out.name}.provenance.json"}
    return out


def changes(out: Path) -> list[dict[str, str]]:
    text = out.with_name(out.name + ".changes.csv").read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


# tables


TABLES = {
    "plain": b"id,a,label\np,1,cat\nq,2,dog\nr,3,cat\n",
    "as Windows writes it": b"\xef\xbb\xbfid,a,label\r\np,1.50,cat\r\nq,2e0,dog\r\nr,003,cat\r\n",
    "no end of the last line": b"id,a,label\np,1,cat\nq,2,dog\nr,3,cat",
    "blank lines": b"id,a,label\n\np,1,cat\n  \nq,2,dog\nr,3,cat\n\n",
    "old Mac": b"id,a,label\rp,1,cat\rq,2,dog\rr,3,cat\r",
    "all in quotes": b'"id","a","label"\n"p","1","cat"\n"q","2","dog"\n"r","3","cat"\n',
    "label first": b"label,a,id\ncat,1,p\ndog,2,q\ncat,3,r\n",
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES.keys())
def test_of_a_csv_only_the_cell_changes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    config = Config(data="data.csv", base=tmp_path)
    assert corrected(config, {"r": "dog"}).read_bytes() == b"dog".join(content.rsplit(b"cat", 1))
    dropped = shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-2")) / "data.csv"
    for name in ("new.csv", "new.csv.changes.csv", "new.csv.provenance.json"):
        (dropped.parent / name).unlink()
    out = corrected(Config(data="data.csv", base=dropped.parent), {"q": "cat"}, "--drop", "--ids", "id")
    lines = content.splitlines(keepends=True)
    assert out.read_bytes() == b"".join(line for line in lines if b"dog" not in line)


def test_odd_cells_stay_the_text_they_are(tmp_path: Path) -> None:
    text = (
        'id,note,a,label\n"x,1","line\none ""quoted""",1.10,"a, b"\nNA,,0x,NA\n"../up",null,-0,"a, b"\n'
        'last,"tail"x,1e400,"q""r"\nx"y,,=1+1,NA\n'
    )
    write_code(tmp_path)
    with (tmp_path / "code.py").open("a") as code:
        code.write("\ndef one(row): return torch.ones(1)\n")
    names = ("a, b", "NA", 'q"r')
    config = write_csv(tmp_path, text, inputs=("a",), class_names=names, transform="code.py:one")
    out = corrected(config, {"NA": "a, b", "../up": 'q"r', "x,1": "NA"})
    assert out.read_text("utf-8") == text.replace('1.10,"a, b"', '1.10,"NA"').replace(
        "NA,,0x,NA", 'NA,,0x,"a, b"'
    ).replace('null,-0,"a, b"', 'null,-0,"q""r"')


@pytest.mark.parametrize(
    ("labels", "class_names", "suggested", "expected"),
    [
        ("1 0 1 1 0", (), "1", "1 1 1 1 0"),
        ("1 0 1 1 0", ("ant", "bee"), "bee", "1 1 1 1 0"),
        ("0 1 0 0 1", ("1", "0"), "0", "0 0 0 0 1"),  # all labels are names: they go by name
        ("bee ant bee bee ant", ("bee", "ant"), "bee", "bee bee bee bee ant"),
        ("1.0 0 1 1 0", (), "1", "1.0 1 1 1 0"),  # as most of the class are written
        ("1.0 0 1.0 1 0", (), "1", "1.0 1.0 1.0 1 0"),
    ],
)
def test_a_label_is_written_as_the_file_writes_its_class(
    labels: str, class_names: tuple[str, ...], suggested: str, expected: str, tmp_path: Path
) -> None:
    rows = [f"{k},{label}\n" for k, label in enumerate(labels.split())]
    out = corrected(write_csv(tmp_path, "a,y\n" + "".join(rows), class_names=class_names), {"1": suggested})
    assert out.read_text().split()[1:] == [f"{k},{label}" for k, label in enumerate(expected.split())]
    (line,) = changes(out)
    assert (line["id"], line["new_label"], line["new_id"]) == ("1", suggested, "1")


cells = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\ufeff"), max_size=6)


@given(
    rows=st.lists(
        st.tuples(cells, cells, st.sampled_from(["cat", 'd"o,g', "an\nt"])), min_size=4, max_size=9
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_any_table_is_read_back_with_the_change_alone(
    rows: list[tuple[str, str, str]],
    quoting: Any,
    end: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    classes = sorted({row[2] for row in rows})
    assume(len(classes) > 1)
    assume(quoting != csv.QUOTE_MINIMAL or not any("\r" in cell for row in rows for cell in row))
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([("u", "v", "label"), *rows])
    folder = tmp_path_factory.mktemp("table")
    (folder / "data.csv").write_bytes(text.getvalue().encode())
    original = CsvOriginal.open(folder / "data.csv", "", "", classes)
    changed = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    new = {k: data.draw(st.sampled_from(classes)) for k in changed}
    original.write(folder / "new.csv", new, ())
    original.write(folder / "less.csv", {}, changed)
    expected = [[*row[:2], new.get(k, row[2])] for k, row in enumerate(rows)]
    assert read_rows(folder / "new.csv") == expected
    assert read_rows(folder / "less.csv") == [list(row) for k, row in enumerate(rows) if k not in changed]


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


LINES = {
    "plain": b'{"id": "p", "a": 1, "label": "cat"}\n'
    b'{"id": "q", "a": 2, "label": "dog"}\n'
    b'{"id": "r", "a": 3, "label": "cat"}\n',
    "as Windows writes it": b'\xef\xbb\xbf{"id":"p","a":1.50,"label":"cat"}\r\n\r\n'
    b'{"id":"q","a":2e0,"label":"dog"}\r\n'
    b'{"id":"r","a":3,"label":"cat"}',
    "odd spaces, orders and keys": b'{"label" :"cat","id":"p","a":1}\n'
    b' {"id": "q", "a":2 ,"only": null, "label": "dog"}\n'
    b'{ "a" : 3 , "note": "\\"label\\": \\u00e9, {", "label"\t: "cat" , "id" :"r" } \n',
}


@pytest.mark.parametrize("content", LINES.values(), ids=LINES.keys())
def test_of_a_jsonl_only_the_value_changes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(content)
    config = Config(data="data.jsonl", base=tmp_path, inputs=("a",))
    assert corrected(config, {"r": "dog"}).read_bytes() == b"dog".join(content.rsplit(b"cat", 1))
    for name in ("new.jsonl", "new.jsonl.changes.csv", "new.jsonl.provenance.json"):
        (tmp_path / name).unlink()
    out = corrected(config, {"q": "cat"}, "--drop", "--ids", "id")
    lines = content.splitlines(keepends=True)
    assert out.read_bytes() == b"".join(line for line in lines if b"dog" not in line)


@pytest.mark.parametrize(
    ("labels", "class_names", "suggested", "expected"),
    [
        ("1 0 1 1 0", (), "1", "1 1 1 1 0"),
        ("true false true true false", ("no", "yes"), "yes", "true true true true false"),
        ('"1" "0" "1" "1" "0"', ("ant", "bee"), "bee", '"1" "1" "1" "1" "0"'),
        (r'"\u00e9" "b" "\u00e9" "\u00e9" "b"', (), "é", r'"\u00e9" "\u00e9" "\u00e9" "\u00e9" "b"'),
    ],
)
def test_a_label_in_json_is_written_as_the_file_writes_its_class(
    labels: str, class_names: tuple[str, ...], suggested: str, expected: str, tmp_path: Path
) -> None:
    lines = [f'{{"a": {k}, "y": {label}}}' for k, label in enumerate(labels.split())]
    out = corrected(write_jsonl(tmp_path, *lines, class_names=class_names), {"1": suggested})
    assert [line.partition('"y": ')[2] for line in out.read_text("utf-8").splitlines()] == [
        f"{label}}}" for label in expected.split()
    ]


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), cells
)


@given(
    row=st.dictionaries(cells, values, min_size=1, max_size=5),
    ascii_only=st.booleans(),
    separators=st.sampled_from([(",", ":"), (" , ", " : "), (",\t", ":\t ")]),
    data=st.data(),
)
def test_the_value_of_a_key_is_found_in_any_line(
    row: dict[str, Any], ascii_only: bool, separators: tuple[str, str], data: st.DataObject
) -> None:
    line = json.dumps(row, ensure_ascii=ascii_only, separators=separators) + "\r\n"
    key = data.draw(st.sampled_from(sorted(row)))
    start, end = value_span(line, key)
    assert line[start:end] == json.dumps(row[key], ensure_ascii=ascii_only)


def test_a_parquet_keeps_types_and_metadata(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "name": ["p", "q", "r", "s"],
            "a": np.array([1, 2, 3, 4], np.int8),
            "when": pd.to_datetime(["2026-01-01"] * 4),
            "more": [[1], [2, 3], None, []],
            "y": pd.Categorical(["cat", "dog", "cat", "dog"], categories=["dog", "cat", "ant"]),
        }
    ).set_index("name")
    codecs = {"name": "zstd", "a": "gzip", "when": "none", "more.list.element": "snappy", "y": "brotli"}
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "data.parquet", compression=codecs)
    config = Config(data="data.parquet", base=tmp_path, ids="name", inputs=("a",))
    found = pd.read_parquet(corrected(config, {"s": "cat"}))
    expected = frame.copy()
    expected.loc["s", "y"] = "cat"
    pd.testing.assert_frame_equal(found, expected)
    about = pq.read_metadata(tmp_path / "new.parquet").row_group(0)
    columns = [about.column(k) for k in range(about.num_columns)]
    kept = {one.path_in_schema: one.compression.lower() for one in columns}
    assert kept == codecs | {"when": "uncompressed"}
    (tmp_path / "new.parquet").unlink()
    (tmp_path / "new.parquet.changes.csv").unlink()
    (tmp_path / "new.parquet.provenance.json").unlink()
    found = pd.read_parquet(corrected(config, {"p": "dog"}, "--drop"))
    pd.testing.assert_frame_equal(found, frame.iloc[1:])


# arrays


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([0, 1, 1, 0, 1, 1], np.int64), ["0", "1"]),
        (np.array([[0], [1], [1], [0], [1], [1]], np.uint8), ["0", "1"]),
        (np.array([0, 1, 1, 0, 1, 1], np.float32), ["0", "1"]),
        (np.array(["ox", "bee", "bee", "ox", "bee", "bee"]), ["ox", "bee"]),
        (np.array([b"ox", b"bee", b"bee", b"ox", b"bee", b"bee"]), ["ox", "bee"]),
        (np.array([False, True, True, False, True, True]), ["no", "yes"]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
@pytest.mark.parametrize("drop", [False, True])
def test_of_an_npz_all_else_stays(labels: np.ndarray, names: list[str], drop: bool, tmp_path: Path) -> None:
    arrays = {
        "x": np.asfortranarray(np.arange(12.0).reshape(6, 2)),
        "y": labels,
        "ids": np.array([f"k{i}" for i in range(6)]),
        "weight": np.arange(6, dtype=">f2"),
        "mean": np.float64(0.1) + np.zeros((2, 3)),
        "class_names": np.array(names),
        "scale": np.array(3),
    }
    config = write_arrays(tmp_path, **arrays)
    out = corrected(config, {"k3": names[1], "k4": names[0]}, *["--drop"] * drop)
    expected, kept = dict(arrays), [0, 1, 2, 5]
    if drop:
        expected |= {name: arrays[name][kept] for name in ("x", "y", "ids", "weight")}
    else:
        expected["y"] = labels[[0, 1, 2, 1, 0, 5]]
    with np.load(out) as found:
        assert found.files == list(arrays)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    with zipfile.ZipFile(tmp_path / "data.npz") as old, zipfile.ZipFile(out) as new:
        same = {name for name in old.namelist() if old.read(name) == new.read(name)}
    touched = {"x.npy", "y.npy", "ids.npy", "weight.npy"} if drop else {"y.npy"}
    assert same == {f"{name}.npy" for name in arrays} - touched
    assert [(line["id"], line["new_label"], line["new_id"]) for line in changes(out)] == (
        [("k3", "", ""), ("k4", "", "")] if drop else [("k3", names[1], "k3"), ("k4", names[0], "k4")]
    )


def test_an_npz_keeps_its_compression_and_is_written_the_same_each_time(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((4, 500)), y=np.array([0, 1, 0, 1]))
    config = Config(data="data.npz", base=tmp_path)
    first = corrected(config, {"0": "1"}).read_bytes()
    assert len(first) < 4000
    (tmp_path / "new.npz").unlink()
    (tmp_path / "new.npz.changes.csv").unlink()
    (tmp_path / "new.npz.provenance.json").unlink()
    assert corrected(config, {"0": "1"}).read_bytes() == first


def test_a_safetensors_keeps_types_and_metadata(tmp_path: Path) -> None:
    tensors = {"x": torch.randn(4, 3).bfloat16(), "y": torch.tensor([0, 1, 0, 1]).byte(), "s": torch.ones(2)}
    save_file(tensors, tmp_path / "data.safetensors", metadata={"made": "here"})
    config = Config(data="data.safetensors", base=tmp_path)
    out = corrected(config, {"2": "1"})
    found = load_file(out)
    assert found["y"].tolist() == [0, 1, 1, 1]
    assert {name: t.dtype for name, t in found.items()} == {name: t.dtype for name, t in tensors.items()}
    assert torch.equal(found["x"], tensors["x"])
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"made": "here"}
    out.unlink()
    out.with_name("new.safetensors.changes.csv").unlink()
    out.with_name("new.safetensors.provenance.json").unlink()
    found = load_file(corrected(config, {"2": "1"}, "--drop"))
    assert (found["y"].tolist(), found["x"].shape, found["s"].shape) == ([0, 1, 1], (3, 3), (2,))


# image folders


@pytest.fixture
def pictures(tmp_path: Path) -> Config:
    """Return a folder of class folders, with files beside the images."""
    config = write_images(tmp_path)
    root = tmp_path / "pictures"
    (root / "README.md").write_text("about")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "note").write_bytes(b"\0\1")
    (root / "cat" / ".DS_Store").write_bytes(b"mac")
    return config


def test_an_image_goes_into_the_folder_of_its_class(pictures: Config) -> None:
    before = left_behind(pictures.base / "pictures")
    out = corrected(pictures, {"cat/deep/a.png": "ant", "ant/z.png": "cat"})
    after = left_behind(out)
    for old, new in (("cat/deep/a.png", "ant/deep/a.png"), ("ant/z.png", "cat/z.png")):
        assert after[new] == before[old]
    files = {name for name, content in before.items() if isinstance(content, bytes)}
    moved = {"cat/deep/a.png", "ant/z.png"}
    assert {name: after[name] for name in files - moved} == {name: before[name] for name in files - moved}
    assert {name for name, content in after.items() if isinstance(content, bytes)} == (
        files - moved | {"ant/deep/a.png", "cat/z.png"}
    )
    assert {line["id"]: line["new_id"] for line in changes(out)} == {
        "cat/deep/a.png": "ant/deep/a.png",
        "ant/z.png": "cat/z.png",
    }
    dataset = open_dataset(Config(data=out.name, base=pictures.base))
    assert sorted(dataset.ids) == ["ant/a.png", "ant/deep/a.png", "cat/b.png", "cat/z.png"]


def test_a_name_that_is_taken_gets_the_next_number(pictures: Config) -> None:
    root = pictures.base / "pictures"
    for name in ("cat/A.PNG", "cat/z.png", "cat/z-2.png", "ant/deep"):
        shutil.copy(root / "ant" / "a.png", root / name)
    before = left_behind(root)
    suggested = {"ant/a.png": "cat", "ant/z.png": "cat", "cat/z.png": "ant", "cat/deep/a.png": "ant"}
    out = corrected(pictures, suggested)
    # a name never means another picture than in the original, even where the other one goes away
    new_ids = {line["id"]: line["new_id"] for line in changes(out)}
    assert new_ids == {
        "ant/a.png": "cat/a-2.png",  # A.PNG is the same name on some systems
        "ant/z.png": "cat/z-3.png",
        "cat/z.png": "ant/z-2.png",
        "cat/deep/a.png": "ant/a-2.png",  # `deep` is a file there
    }
    assert all((out / new).read_bytes() == before[old] for old, new in new_ids.items())
    assert len(list(out.rglob("*.[pP]*"))) == len(list(root.rglob("*.[pP]*")))


def test_suspects_are_left_out_of_a_folder(pictures: Config) -> None:
    before = left_behind(pictures.base / "pictures")
    out = corrected(pictures, {"cat/b.png": "ant"}, "--drop")
    assert left_behind(out) == {name: content for name, content in before.items() if name != "cat/b.png"}


def test_a_link_becomes_what_it_leads_to(pictures: Config) -> None:
    root = pictures.base / "pictures"
    shutil.move(root / "ant", pictures.base / "elsewhere")
    (root / "ant").symlink_to("../elsewhere")
    out = corrected(pictures, {"ant/a.png": "cat"})
    assert not (out / "ant").is_symlink()
    assert (out / "cat" / "a.png").read_bytes() == (root / "ant" / "a.png").read_bytes()


# which samples change


def test_only_what_a_person_confirmed_changes(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "id,a,y\n" + "".join(f"s {k},{k},{'np'[k % 2]}\n" for k in range(6)))
    (tmp_path / "yes.txt").write_bytes(b"\xef\xbb\xbfs 3\r\n\r\ns 0\n")
    out = corrected(config, {"s 0": "p", "s 2": "p", "s 3": "n"}, "--only", tmp_path / "yes.txt")
    assert [row[2] for row in read_rows(out)] == list("ppnnnp")
    assert {line["id"]: line["reason"] for line in changes(out)} == {
        "s 0": "the other samples suggest p; listed in yes.txt",
        "s 3": "the other samples suggest n; listed in yes.txt",
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("s 9", "line 2: 's 9' is not a sample of the audit\n  → did you mean s"),
        ("s 1", "line 2: 's 1' is a sample, but not a suspect"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_an_id_that_is_no_suspect_is_refused(line: str, told: str, tmp_path: Path) -> None:
    config = write_csv(tmp_path, "id,a,y\n" + "".join(f"s {k},{k},{'np'[k % 2]}\n" for k in range(6)))
    (tmp_path / "yes.txt").write_text(f"s 0\n{line}\n", errors="surrogateescape")
    assert told in refused(config, {"s 0": "p"}, "--only", tmp_path / "yes.txt")
    assert "--only none.txt: cannot be read" in refused(config, {"s 0": "p"}, "--only", "none.txt")


def test_an_exported_list_of_suspects_says_which_are_wrong(tmp_path: Path) -> None:
    rows = "".join(f"s{k},{k},{'np'[k % 2]}\n" for k in range(6))
    config = write_csv(tmp_path, "id,a,y\n" + rows)
    audit = audit_of(config, {"s0": "p", "s2": "p"})
    lines = export(audit, "csv").decode().splitlines()
    (tmp_path / "suspects.csv").write_text("\n".join([lines[0], lines[2]]) + "\n")
    out = corrected(config, {"s0": "p", "s2": "p"}, "--only", tmp_path / "suspects.csv")
    assert [line["new_label"] for line in changes(out)] == ["p"]


def test_a_change_that_would_rather_harm_is_left_to_a_person(tmp_path: Path) -> None:
    """Of many classes, the likeliest other label can be likelier wrong than the given one is."""
    config = write_csv(tmp_path, "id,a,y\n" + "".join(f"s{k},{k},{'npq'[k % 3]}\n" for k in range(6)))
    audit = audit_of(config, {"s0": "p", "s1": "q"})
    unsure = audit.samples["id"] == "s0"
    samples = audit.samples.assign(
        suspicion=audit.samples["suspicion"].mask(unsure, 0.6),
        suggestion=audit.samples["suggestion"].mask(unsure, 0.35),
    )
    path = tmp_path / "audit.json"
    path.write_text(audit_to_json(replace(audit, samples=samples)), encoding="utf-8")
    result = command(path, "--data", tmp_path / "data.csv", "--out", tmp_path / "new.csv")
    assert result.exit_code == 0, result.output
    assert [line["id"] for line in changes(tmp_path / "new.csv")] == ["s1"]
    assert "not likelier right than their own: 1." in result.output


def test_a_table_of_fixes_says_what_is_right(tmp_path: Path) -> None:
    """Also of samples that are no suspects: whoever looked at them knows better."""
    rows = "".join(f'"s, {k}",{k},{"npq"[k % 3]}\n' for k in range(6))
    config = write_csv(tmp_path, "id,a,y\n" + rows)
    lines = ['"s, 0","n","q"', '"s, 1","","n"', '"s, 3","n",""']
    (tmp_path / "fixes.csv").write_text("id,label,new_label\n" + "\n".join(lines) + "\n")
    out = corrected(config, {"s, 0": "p", "s, 2": "p", "s, 3": "p"}, "--only", tmp_path / "fixes.csv")
    assert [row[2] for row in read_rows(out)] == ["q", "n", "q", "p", "p", "q"]
    reasons = {line["id"]: line["reason"] for line in changes(out)}
    assert reasons["s, 1"] == "not a suspect; another label in fixes.csv"
    assert reasons["s, 0"] == "the other samples suggest p; another label in fixes.csv"
    assert reasons["s, 3"] == "the other samples suggest p; listed in fixes.csv"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,label\ns 0,n\n", "has no column 'new_label'"),
        ("id,label,suggested\ns 1,p,p\n", "line 2: 's 1' has no new label, and is not a suspect"),
        ("id,new_label\ns 9,p\n", "line 2: 's 9' is not a sample of the audit"),
        ("id,new_label\ns 0,r\n", "line 2: 'r' is not a class of the audit"),
        ("id,new_label\ns 0,p\ns 0,p\n", "line 3: 's 0' is in the table twice"),
        ("id,label,new_label\ns 0,p,n\n", "line 2: 's 0' is labeled 'n' in the audit, not 'p'"),
        ("id,new_label\ns 1,\n", "line 2: 's 1' has no new label, and is not a suspect"),
        ('id,new_label\n"s 0,p\n', "is not valid CSV"),
        ("", "has no column 'id'"),
        ("id,new_label\n", "names no sample"),
        ("id,new_label,new_label\ns 0,p,\n", "has two columns 'new_label'"),
        ("id,new_label\ns 0,p,q\n", "line 2: does not have 2 cells"),
        ("id,new_label\ns 0\n", "line 2: does not have 2 cells"),
    ],
)
def test_a_table_of_fixes_that_does_not_fit_is_refused(content: str, told: str, tmp_path: Path) -> None:
    config = write_csv(tmp_path, "id,a,y\n" + "".join(f"s {k},{k},{'np'[k % 2]}\n" for k in range(6)))
    (tmp_path / "fixes.csv").write_text(content)
    assert told in refused(config, {"s 0": "p"}, "--only", tmp_path / "fixes.csv")


def test_what_was_not_audited_stays(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "a,y\n" + "".join(f"{k},{'np'[k % 2]}\n" for k in range(6)))
    out = corrected(config, {"2": "p", "5": "n"}, known=slice(0, 4))
    assert [row[1] for row in read_rows(out)] == list("npppnp")


def test_no_suspects_make_a_copy_that_is_the_same(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "a,y\n1,n\n2,p\n3,p\n")
    out = corrected(config, {})
    assert out.read_bytes() == (tmp_path / "data.csv").read_bytes()
    assert changes(out) == []


def test_a_suspect_without_another_label_keeps_its_own_and_that_is_told(tmp_path: Path) -> None:
    config = write_csv(tmp_path, "a,y\n1,n\n2,p\n3,p\n")
    (tmp_path / "audit.json").write_text(audit_to_json(audit_of(config, {"0": "p", "1": "p"})))
    arguments = [tmp_path / "audit.json", "--data", tmp_path / "data.csv", "--out"]
    result = command(*arguments, tmp_path / "new.csv")
    assert [row[1] for row in read_rows(tmp_path / "new.csv")] == list("ppp")
    assert "Note: Suspects without a more likely label: 1." in result.output
    assert "Note: No sample of the class 'n' is left" in result.output
    assert "(1 sample relabeled, 2 as before)" in result.output.replace("\n", "")
    result = command(*arguments, tmp_path / "less.csv", "--drop")
    assert [row[1] for row in read_rows(tmp_path / "less.csv")] == list("p")


# what is refused


def refused(config: Config, suggested: Mapping[str, str], *options: object, **places: Path) -> str:
    """Return the message of a command that is refused and leaves nothing behind."""
    path = config.base / "audit.json"
    if not path.exists():
        path.write_text(audit_to_json(audit_of(config, suggested)), encoding="utf-8")
    data = places.get("data", config.base / config.data)
    out = places.get("out", config.base / "made" / f"new{data.suffix}")
    before = left_behind(config.base)
    result = command(path, "--data", data, "--out", out, *options)
    assert result.exit_code == 2, result.output
    assert left_behind(config.base) == before
    assert result.output.startswith("error: ")
    return result.output


@pytest.fixture
def rows(tmp_path: Path) -> Config:
    text = "id,a,b,y,z\n" + "".join(f"s{k},{k},{k % 3},{'np'[k % 2]},{'pn'[k // 3]}\n" for k in range(6))
    return write_csv(tmp_path, text, labels="y", inputs=("a", "b"))


def test_other_data_is_refused(rows: Config) -> None:
    suggested = {"s0": "p"}
    audit_json = refused(rows, suggested, data=rows.base / "dta.csv")
    assert "dta.csv: no such file or folder\n  → did you mean data.csv?" in audit_json
    other = rows.base / "other.csv"
    other.write_bytes((rows.base / "data.csv").read_bytes().replace(b"s5,5", b"s5,6"))
    told = refused(rows, suggested, data=other)
    assert "other.csv: is not the data that was audited (data.csv): its SHA-256 begins with" in told
    other.write_bytes((rows.base / "data.csv").read_bytes()[:-9])
    assert "is not the data that was audited" in refused(rows, suggested, data=other)
    assert "sample 's0': is 'n' in the audit, but 'p' here" in refused(rows, suggested, "--labels", "z")
    assert "sample 's0': is 'n' in the audit, but missing here" in refused(rows, suggested, "--ids", "a")
    assert "label 2 is out of range" in refused(rows, suggested, "--labels", "b")
    assert "did you mean y?" in refused(rows, suggested, "--labels", "yy")


def test_the_data_is_found_by_the_name_that_the_audit_has(
    rows: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rows.base / "audit.json").write_text(audit_to_json(audit_of(rows, {"s0": "p"})), encoding="utf-8")
    monkeypatch.chdir(rows.base)
    result = command("audit.json", "--out", "new.csv")
    assert result.exit_code == 0, result.output
    (rows.base / "data.csv").rename(rows.base / "elsewhere.csv")
    result = command("audit.json", "--out", "another.csv")
    assert result.exit_code == 2
    assert "name the audited data with --data" in result.output


def test_a_place_that_is_taken_is_refused(rows: Config) -> None:
    suggested, data = {"s0": "p"}, rows.base / "data.csv"
    assert "data.csv: exists already" in refused(rows, suggested, out=data)
    (rows.base / "link.csv").symlink_to("nowhere.csv")
    assert "link.csv: exists already" in refused(rows, suggested, out=rows.base / "link.csv")
    (rows.base / "free.csv.changes.csv").write_text("mine")
    assert "free.csv.changes.csv: exists already" in refused(rows, suggested, out=rows.base / "free.csv")
    assert "name it free2.csv" in refused(rows, suggested, out=rows.base / "free2.npz")
    assert "data.csv is a file, not a folder" in refused(rows, suggested, out=data / "new.csv")
    long = "x" * 250 + ".csv"
    assert "cannot be written: File name too long" in refused(rows, suggested, out=rows.base / long)
    if not IS_ROOT:
        (rows.base / "locked").mkdir(mode=0o555)
        told = refused(rows, suggested, out=rows.base / "locked" / "new.csv")
        assert "locked has no write permission" in told


def test_a_copy_inside_the_folder_is_refused(pictures: Config) -> None:
    suggested = {"cat/b.png": "ant"}
    inside = pictures.base / "pictures" / "ant" / "new"
    assert "is inside the data" in refused(pictures, suggested, out=inside)
    (pictures.base / "way").symlink_to("pictures")
    assert "is inside the data" in refused(pictures, suggested, out=pictures.base / "way" / "new")
    assert "does not apply to an image folder" in refused(pictures, suggested, "--labels", "y")


@pytest.mark.parametrize("out", [".", "/", "", "none/.."])
def test_a_copy_needs_a_name(out: str, pictures: Config) -> None:
    told = refused(pictures, {"cat/b.png": "ant"}, out=Path(out))
    assert "is a folder, not a name for the copy" in told


def test_what_fails_halfway_leaves_nothing(pictures: Config) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(pictures.base / "pictures" / "zebra")  # the last to be copied
    assert "zebra: is not a regular file" in refused(pictures, {"cat/b.png": "ant"})


def test_data_that_code_makes_is_refused_with_another_way(tmp_path: Path) -> None:
    config = write_code(tmp_path, data="code.py:tensors")
    (tmp_path / "audit.json").write_text(audit_to_json(audit_of(config, {"0": "1"})))
    told = refused(config, {}, data=Path("code.py:tensors"), out=tmp_path / "new")
    assert "a dataset made by code" in told
    assert "cohaudit export AUDIT.JSON --format csv" in told
    told = refused(config, {}, data=tmp_path / "code.py", out=tmp_path / "new.py")
    assert "has the unknown extension '.py'" in told


def test_an_audit_that_judged_nothing_or_is_broken_is_refused(rows: Config) -> None:
    audit = audit_of(rows, {})
    blank = audit.samples.assign(suspicion=np.nan)
    path = rows.base / "audit.json"
    path.write_text(audit_to_json(replace(audit, samples=blank)))
    assert "no label was judged" in refused(rows, {})
    path.write_text(audit_to_json(audit)[:-100])
    assert "was cut short" in refused(rows, {})


def test_an_audit_changed_by_hand_reaches_no_other_folder(pictures: Config) -> None:
    path = pictures.base / "audit.json"
    for suggested in ("../../up", "/tmp/x", "", "ant/../.."):
        audit = audit_of(pictures, {"cat/b.png": suggested})
        path.write_text(audit_to_json(audit))
        assert f"has the label {suggested!r}" in refused(pictures, {})


def test_hostile_ids_stay_text(tmp_path: Path) -> None:
    ids = ["../up", "a\nb", "/etc/passwd", '"', "=1\r+1", "\x1b[2J"]
    config = write_arrays(tmp_path, x=np.eye(6), y=np.arange(6) % 2, ids=np.array(ids))
    out = corrected(config, dict.fromkeys(ids[::2], "1"))
    assert {line["id"] for line in changes(out)} == set(ids[::2])
    with np.load(out) as arrays:
        assert arrays["y"].tolist() == [1] * 6
        assert arrays["ids"].tolist() == ids


# the whole way


def test_a_scan_is_all_it_takes(tmp_path: Path) -> None:
    data = Path("fixtures/tumors/train.csv")
    assert scan(data.with_name("model.safetensors"), "--out", tmp_path).exit_code == 0
    result = command(tmp_path / "audit.json", "--data", data, "--out", tmp_path / "new.csv")
    assert result.exit_code == 0, result.output
    truth = pd.read_csv(data.with_name("truth.csv"))["true"]
    old, new = (pd.read_csv(path)["diagnosis"] for path in (data, tmp_path / "new.csv"))
    suspects = read_audit(tmp_path / "audit.json").samples["suspect"]
    assert list(np.flatnonzero(old != new)) == list(np.flatnonzero(suspects))
    assert (new == truth).mean() > (old == truth).mean() + 0.05
    assert hash_original(data) != hash_original(tmp_path / "new.csv")
