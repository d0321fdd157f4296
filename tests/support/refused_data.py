"""Datasets of every kind that cannot be audited, and how a test sees them refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cohaudit.config import Config
from cohaudit.errors import BAD_INPUT, ConfigError, DataError

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


def assert_refused(call: Callable[[], object], fragments: Iterable[str]) -> None:
    """Check that a call is refused with a message that names the place and the remedy.

    Args:
        call: Opens or reads a dataset.
        fragments: What the message must hold.
    """
    with pytest.raises((DataError, ConfigError)) as caught:
        call()
    assert [part for part in fragments if part not in str(caught.value)] == [], str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert caught.value.remedy
    assert not Path("opened").exists()
