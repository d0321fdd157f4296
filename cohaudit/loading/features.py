"""Embeddings of the samples that the user brings: a row of numbers each, read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.errors import CheckpointError, DataError, printable
from cohaudit.loading.checkpoint import check_usable, load_content
from cohaudit.loading.data import open_array_file
from cohaudit.untrusted import check_regular

KEYS = ("features", "embeddings", "x")
"""Usual names of the array of features among several, in lower case."""
TORCH_SUFFIXES = (".pt", ".pth")
"""Extensions of files that torch.save writes."""
SUFFIXES = (".npy", ".npz", ".safetensors", *TORCH_SUFFIXES)
"""Extensions of files of features."""
_SAVE = "save them with numpy.save('features.npy', array), as float32 of shape [samples, any]"
"""Remedy for a file that holds something else."""


def read_features(path: Path, samples: int) -> NDArray[np.float32]:
    """Return the features of all samples of a dataset, in its order, float32 [N, F].

    Args:
        path: A .npy, .npz, .safetensors or .pt file.
        samples: N.

    Raises:
        DataError: If the file cannot be read without running code, or does not hold a row of finite numbers
            for each sample.
    """
    array = _read(path)
    where = f"{path}, features"
    found = f"{array.dtype} of shape {list(array.shape)}"
    if array.dtype.kind != "f" or array.ndim != 2 or not array.shape[1]:
        raise DataError(where, f"found {found}, not one row of floats for each sample", _SAVE)
    if len(array) != samples:
        raise DataError(
            where,
            f"found {len(array):,} rows for {samples:,} samples of the data",
            "give one row for each sample of the whole data, in its order, also with --limit",
        )
    # a float64 beyond float32's range becomes infinite here, and is reported with its row
    with np.errstate(over="ignore"):
        features: NDArray[np.float32] = np.asarray(array, dtype=np.float32)
    finite = np.isfinite(features).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise DataError(
            where,
            f"row {row} (from 0) holds NaN or infinity, or a number too large for float32",
            "compute the features of that sample again, or fill in its missing numbers",
        )
    return features


def _read(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(str(path), f"is not one of {', '.join(SUFFIXES)}", _SAVE)
    try:
        check_regular(path, DataError)
    except OSError as error:
        raise DataError(
            str(path), f"there is no such file ({error.strerror})", "check the path given with --features"
        ) from error
    if suffix == ".npy":
        return _read_npy(path)
    return _read_torch(path) if suffix in TORCH_SUFFIXES else _read_archive(path)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        # mapped: a header that promises more than the file holds is refused before memory is taken
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        found = f"cannot be read as an array of numbers: {printable(str(error), 200)}"
        raise DataError(str(path), found, _SAVE) from error
    return array


def _read_archive(path: Path) -> NDArray[Any]:
    with open_array_file(path) as file:
        names = file.names()
        usual = [name for name in names if name.lower() in KEYS]
        chosen = names if len(names) == 1 else usual
        if len(chosen) != 1:
            raise DataError(
                str(path),
                f"holds {len(names)} arrays, and {len(usual)} of them are called {' or '.join(KEYS)}",
                "store the features under the name features",
            )
        return file.read(chosen[0])


def _read_torch(path: Path) -> NDArray[Any]:
    try:
        content = load_content(path)
    except CheckpointError as error:
        raise DataError(str(path), f"cannot be read without running code: {error.found}", _SAVE) from error
    if not isinstance(content, torch.Tensor):
        raise DataError(str(path), f"holds a {type(content).__name__}, not a tensor", _SAVE)
    check_usable({"features": content}, str(path), DataError)
    return np.asarray((content.float() if content.is_floating_point() else content).numpy())
