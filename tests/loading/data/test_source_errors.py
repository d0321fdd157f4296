"""Paths, image folders, factories and transforms that give no dataset are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.refused_data import (
    Make,
    assert_refused,
    factory,
    file,
    images,
    npz,
    png,
    transformed,
)

from cohaudit.config import Config
from cohaudit.loading.data import open_dataset

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 8\n"

CASES: dict[str, tuple[Make, list[str]]] = {
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
    "address": (
        lambda folder: Config(data="s3://bucket/train.npz", base=folder),
        ["s3://bucket/train.npz: is an address", "download it"],
    ),
    "git-lfs pointer": (file("data.csv", POINTER), ["data.csv", "a git-lfs pointer", "git lfs pull"]),
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
    "git-lfs pointer in place of an image": (
        images(bee__c=POINTER),
        ["bee/c.png", "a git-lfs pointer", "git lfs pull"],
    ),
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


@pytest.mark.parametrize("case", CASES)
def test_sources_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, fragments = CASES[case]
    config = make(tmp_path)
    assert_refused(lambda: open_dataset(config), fragments)
