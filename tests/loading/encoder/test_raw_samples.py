"""Raw samples of every kind of data become a text or an image of 8 bits, or are neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data import from_torch, open_dataset
from cohaudit.loading.encoder._raw import image_of, text_of

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
TO_TENSOR = "import torch\ndef encode(raw):\n    return torch.zeros(3)\n"


def with_transform(folder: Path, data: str, **settings: Any) -> Config:
    (folder / "prepare.py").write_text(TO_TENSOR)
    return Config(base=folder, data=data, transform="prepare.py:encode", **settings)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a", "a"),
        (np.str_("a"), "a"),
        (np.asarray("a"), "a"),
        (np.asarray(b"caf\xc3\xa9"), "café"),
        (b"\xff", "\ufffd"),
        ({"question": "why?", "age": 3, "answer": "so", "none": None}, "why?\nso"),
        ({"age": 3}, None),
        (np.asarray(3), None),
        (torch.zeros(3), None),
        (None, None),
    ],
)
def test_texts(raw: Any, text: str | None) -> None:
    assert text_of(raw) == text


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_texts_of_a_table_are_given_as_they_stand_before_the_transform(
    tmp_path: Path, suffix: str
) -> None:
    frame = pd.DataFrame({"text": ["one", "two", "three"], "length": [3, 3, 5], "label": [0, 1, 0]})
    path = tmp_path / f"data.{suffix}"
    match suffix:
        case "csv":
            frame.to_csv(path, index=False)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            pytest.importorskip("pyarrow")
            frame.to_parquet(path)
    dataset = open_dataset(with_transform(tmp_path, path.name))
    assert [text_of(dataset.raw(i)) for i in range(3)] == ["one", "two", "three"]


def test_a_table_of_numbers_has_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b,label\n1,2,0\n3,4,1\n")
    raw = open_dataset(Config(base=tmp_path, data="data.csv")).raw(1)
    assert raw == {"a": 3.0, "b": 4.0}
    assert text_of(raw) is None
    assert image_of(raw, "row 1") is None


def test_the_texts_of_an_array_and_of_a_torch_dataset(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array(["one", "two"]), y=np.array([0, 1]))
    assert text_of(open_dataset(with_transform(tmp_path, "data.npz")).raw(1)) == "two"
    pairs = [(torch.zeros(2), 0), (torch.ones(2), 1)]
    assert torch.equal(from_torch(pairs).raw(1), torch.ones(2))


def test_the_images_of_a_folder_are_given_before_the_transform(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(GREY).resize((20, 30)).save(tmp_path / "data" / name / "0.png")
    raw = open_dataset(with_transform(tmp_path, "data")).raw(0)
    found = image_of(raw, "cat/0.png")
    assert found is not None
    assert (found.mode, found.size) == ("RGB", (20, 30))


@pytest.mark.parametrize(
    "raw",
    [
        GREY,
        GREY[None],
        GREY[..., None],
        np.repeat(GREY[None], 3, axis=0),
        torch.from_numpy(GREY),
        GREY.astype(np.float32) / np.float32(255),
        torch.from_numpy(GREY / 255),
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY.astype(np.float32) / np.float32(255)),
        Image.fromarray(GREY).convert("LA"),
        Image.fromarray(GREY).convert("P"),
    ],
    # not by their text, which has addresses: every process must collect the same names
    ids=range(12),
)
def test_images_of_every_kind_have_the_same_levels(raw: Any) -> None:
    found = image_of(raw, "sample 0")
    assert found is not None
    np.testing.assert_array_equal(np.asarray(found), np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize("raw", [GREY - 1.0, GREY / 100, GREY.astype(np.uint16), np.full((4, 4), np.nan)])
def test_images_of_an_unknown_white_level_are_refused(raw: Any) -> None:
    with pytest.raises(DataError, match="black and white"):
        image_of(raw, "sample 0")


@pytest.mark.parametrize(
    "raw", [np.zeros(3), np.zeros((2, 5, 5)), np.zeros((0, 3)), "x", None, {"a": 1}, np.int64(1)]
)
def test_what_is_no_image(raw: Any) -> None:
    assert image_of(raw, "sample 0") is None
