"""Arrays and labels that cannot be audited are refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.refused_data import (
    Bomb,
    Make,
    X,
    Y,
    assert_refused,
    damaged_npz,
    endless_npz,
    file,
    npz,
    transformed,
    truncated_npz,
    truncated_safetensors,
)

from cohaudit.config import Config
from cohaudit.loading.data import open_dataset

CASES: dict[str, tuple[Make, list[str]]] = {
    # arrays
    "truncated npz": (truncated_npz, ["data.npz", "truncated", "complete"]),
    "empty npz": (file("data.npz"), ["data.npz", "not a .npz archive"]),
    "damaged npz": (damaged_npz, ["data.npz", "'x'", "CRC"]),
    "npz with a false header": (endless_npz, ["data.npz", "'x'", "cannot be read"]),
    "pickle named npz": (file("data.npz", pickle.dumps(Bomb())), ["data.npz", "not a .npz archive"]),
    "npz of pickled objects": (npz(x=np.array([Bomb()] * 4)), ["'x'", "pickled", "could run code", "astype"]),
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
    "ids of another length": (npz(id=[1, 2]), ["ids", "the shape is [2]", "4 samples"]),
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
    "labels from 1": (npz(y=[1, 2, 2, 1]), ["no sample has the label 0", "subtract 1"]),
    "one class": (npz(y=[0, 0, 0, 0]), ["only one class", "two classes"]),
    "class named twice": (npz(class_names=("a", "a")), ["class_names", "'a' occurs twice"]),
}


@pytest.mark.parametrize("case", CASES)
def test_arrays_and_labels_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, fragments = CASES[case]
    config = make(tmp_path)
    assert_refused(lambda: open_dataset(config), fragments)


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
    assert_refused(lambda: dataset.batch(range(len(dataset))), fragments)
