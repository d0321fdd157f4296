"""Small datasets of every kind, written to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from cohaudit.config import Config

LABELS = [0, 1, 2, 1, 0, 2]

CODE = """
import numpy as np, torch
from torch.utils.data import TensorDataset

def halve(array): return torch.from_numpy(array) / 2
def row(row): return torch.tensor([row["width"], len(row["color"])])
def crop(image): return torch.from_numpy(np.array(image.convert("L").crop((0, 0, 3, 3))))[None] / 255
def length(text): return torch.tensor([float(len(text))])

class Named:
    classes = ["ant", "bee", "cat"]
    ids = ["k0", "k1", "k2", "k3", "k4", "k5"]
    def __len__(self): return 6
    def __getitem__(self, i): return {"a": torch.ones(2) * i, "b": torch.tensor(i)}, i % 3

class Pairs(Named):
    def __getitem__(self, i): return (np.float64([i, 1.5]), i), torch.tensor(i % 3)

def tensors(scale=1.0):
    return TensorDataset(scale * torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 2, 1, 0, 2]))

def with_names(): return tensors(), ["x", "y", "z"]
def arrays(): return np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 1, 0, 2])
"""


def write_arrays(folder: Path, **arrays: Any) -> Config:
    np.savez(folder / "data.npz", **arrays)
    return Config(data="data.npz", base=folder)


def write_csv(folder: Path, text: str, **keys: Any) -> Config:
    (folder / "data.csv").write_text(text, encoding="utf-8")
    return Config(data="data.csv", base=folder, **keys)


def write_code(folder: Path, **keys: Any) -> Config:
    (folder / "code.py").write_text(CODE)
    return Config(base=folder, **keys)


def write_images(folder: Path, mode: str = "L", size: tuple[int, int] = (4, 5), **keys: Any) -> Config:
    rng = np.random.default_rng(0)
    for name in ("cat/b.png", "cat/deep/a.png", "ant/z.png", "ant/a.png"):
        path = folder / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return Config(data="pictures", base=folder, **keys)


def npz_images(folder: Path) -> Config:
    return write_arrays(folder, images=np.arange(6 * 20, dtype=np.uint8).reshape(6, 4, 5), labels=LABELS)


def npz_transformed(folder: Path) -> Config:
    write_arrays(folder, x=np.arange(12.0).reshape(6, 2), y=LABELS)
    return write_code(folder, data="data.npz", transform="code.py:halve")


def safetensors_floats(folder: Path) -> Config:
    save_file({"x": torch.randn(6, 3).bfloat16(), "y": torch.tensor(LABELS)}, folder / "data.safetensors")
    return Config(data="data.safetensors", base=folder)


def csv_numbers(folder: Path) -> Config:
    return write_csv(folder, "id,a,b,label\n" + "".join(f"s{i},{i}.5,-{i},c{i % 3}\n" for i in range(6)))


def csv_transformed(folder: Path) -> Config:
    write_csv(folder, "width,color,label\n" + "".join(f"{i},{'x' * i},{i % 2}\n" for i in range(6)))
    return write_code(folder, data="data.csv", transform="code.py:row")


def write_jsonl(folder: Path, *lines: str, **keys: Any) -> Config:
    (folder / "data.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Config(data="data.jsonl", base=folder, **keys)


def jsonl_numbers(folder: Path) -> Config:
    return write_jsonl(
        folder, *(f'{{"id": "s{i}", "a": {i}.5, "b": -{i}, "y": "c{i % 3}"}}' for i in range(6))
    )


def jsonl_transformed(folder: Path) -> Config:
    write_code(folder)
    lines = (f'{{"width": {i}, "color": "{"x" * i}", "label": {i % 2}}}' for i in range(6))
    return write_jsonl(folder, *lines, transform="code.py:row")


def parquet_numbers(folder: Path) -> Config:
    pd.DataFrame({"a": [1.5, 2, 3], "b": [True, False, True], "y": ["n", "p", "n"]}).to_parquet(
        folder / "data.parquet"
    )
    return Config(data="data.parquet", base=folder)


def images_transformed(folder: Path) -> Config:
    write_code(folder)
    return write_images(folder, "RGB", transform="code.py:crop")


def factory(name: str, **keys: Any) -> Callable[[Path], Config]:
    return lambda folder: write_code(folder, data=f"code.py:{name}", **keys)


KINDS: dict[str, Callable[[Path], Config]] = {
    "npz of images": npz_images,
    "npz with a transform": npz_transformed,
    "safetensors of bfloat16": safetensors_floats,
    "csv": csv_numbers,
    "csv with a transform": csv_transformed,
    "jsonl": jsonl_numbers,
    "jsonl with a transform": jsonl_transformed,
    "parquet": parquet_numbers,
    "image folder": write_images,
    "image folder with a transform": images_transformed,
    "torch dataset of tensors": factory("tensors"),
    "torch dataset of dicts": factory("Named"),
    "torch dataset of tuples": factory("Pairs"),
    "factory of arrays, with a transform": factory("arrays", transform="code.py:halve"),
}
