"""Features are read from files of every kind as they were written; anything else is refused by name."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cohaudit.errors import DataError
from cohaudit.loading.features import read_features

ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("it-ran"),)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.npy": lambda path: np.save(path, ROWS),
    "double.npy": lambda path: np.save(path, ROWS.astype(np.float64)),
    "one.npz": lambda path: np.savez(path, anything=ROWS),
    "named.npz": lambda path: np.savez(path, labels=np.arange(6), Embeddings=ROWS),
    "a.safetensors": lambda path: save_file({"features": ROWS, "other": ROWS[:2]}, path),
    "a.pt": lambda path: torch.save(torch.from_numpy(ROWS), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_features_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = read_features(tmp_path / name, 6)
    assert found.dtype == np.float32
    assert np.array_equal(found, ROWS)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing.npy": (lambda path: None, "no such file"),
    "table.csv": (lambda path: path.write_text("1,2\n"), "is not one of"),
    "rows.npy": (lambda path: np.save(path, ROWS[:5]), "5 rows for 6 samples"),
    "flat.npy": (lambda path: np.save(path, ROWS[:, 0]), "shape [6]"),
    "whole.npy": (lambda path: np.save(path, np.ones((6, 4), dtype=np.int64)), "int64"),
    "empty.npy": (lambda path: np.save(path, ROWS[:, :0]), "shape [6, 0]"),
    "nan.npy": (lambda path: np.save(path, np.where(np.eye(6, 4, -1), np.nan, ROWS)), "row 1"),
    "large.npy": (lambda path: np.save(path, np.full((6, 4), 1e300)), "row 0"),
    "object.npy": (lambda path: np.save(path, np.array([[Evil()] * 2] * 6)), "cannot be read"),
    "short.npy": (lambda path: path.write_bytes(_npy()[:-8]), "cannot be read"),
    "several.npz": (lambda path: np.savez(path, a=ROWS, b=ROWS), "2 arrays"),
    "broken.npz": (lambda path: path.write_bytes(b"PK\x03\x04"), "archive"),
    "dict.pt": (lambda path: torch.save({"features": torch.from_numpy(ROWS)}, path), "holds a dict"),
    "evil.pt": (lambda path: path.write_bytes(pickle.dumps(Evil())), "without running code"),
    "noise.pt": (lambda path: path.write_bytes(b"not a tensor"), "without running code"),
}


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, ROWS)
    return out.getvalue()


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write, words = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(DataError) as refused:
        read_features(tmp_path / name, 6)
    assert name in str(refused.value)
    assert words in str(refused.value)
    assert not Path("it-ran").exists()
