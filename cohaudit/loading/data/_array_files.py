"""Files of named arrays: .npz and .safetensors. Opening one never runs code from it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cohaudit.errors import DataError

Array = npt.NDArray[Any]

Change = Callable[[str, Any], Any]
"""Name of an array and the array → the array in its place."""

_REMEDY = "check that the file is complete; write it again with the program that made it"


class ArrayFile(Protocol):
    """An open file of named arrays."""

    def names(self) -> list[str]:
        """Return the arrays' names, in a fixed order."""

    def describe(self, name: str) -> str:
        """Return an array's name with its shape and type, for messages."""

    def read(self, name: str) -> Array:
        """Return one array.

        Raises:
            DataError: If it cannot be read without running code.
        """

    def copy(self, target: Path, change: Change, changed: Collection[str]) -> None:
        """Write a file of the same kind with the same arrays.

        Args:
            target: The file to make.
            change: Gives the new array for a name and its array; torch's for .safetensors.
            changed: Names of the arrays that go through `change`; the others are copied.

        Raises:
            DataError: If an array cannot be read.
        """


class _Npz:
    def __init__(self, path: Path, archive: np.lib.npyio.NpzFile) -> None:
        self._path = path
        self._archive = archive

    def names(self) -> list[str]:
        return self._archive.files

    def describe(self, name: str) -> str:
        try:
            array = self.read(name)
        except DataError:
            return f"{name!r} (cannot be read)"
        return f"{name!r} {list(array.shape)} {array.dtype}"

    def read(self, name: str) -> Array:
        where = f"{self._path}, array {name!r}"
        with _reading(where):
            array = self._archive[name]
        if not isinstance(array, np.ndarray):  # numpy hands out other files in the archive as bytes
            raise DataError(where, "is not an array", _REMEDY)
        return array

    def copy(self, target: Path, change: Change, changed: Collection[str]) -> None:
        names = self.names()
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{self._path}, array {twice!r}", "occurs twice", _REMEDY)
        with zipfile.ZipFile(self._path) as original, zipfile.ZipFile(target, "w") as written:
            for name, stored in zip(names, original.infolist(), strict=True):
                entry = zipfile.ZipInfo(stored.filename, stored.date_time)
                entry.compress_type = stored.compress_type
                with written.open(entry, "w", force_zip64=True) as file:
                    if name in changed and stored.filename.endswith(".npy"):
                        array = np.asarray(change(name, self.read(name)))
                        np.lib.format.write_array(file, array, allow_pickle=False)
                        continue
                    with _reading(f"{self._path}, array {name!r}"):
                        content = original.read(stored)
                    file.write(content)


class _Safetensors:
    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    def names(self) -> list[str]:
        return sorted(self._file.keys())

    def describe(self, name: str) -> str:
        part = self._file.get_slice(name)
        return f"{name!r} {part.get_shape()} {part.get_dtype()}"

    def read(self, name: str) -> Array:
        with _reading(f"{self._path}, array {name!r}"):
            tensor: torch.Tensor = self._file.get_tensor(name)
        # numpy has no bfloat16 and no float8
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    def copy(self, target: Path, change: Change, changed: Collection[str]) -> None:
        tensors = {}
        for name in self.names():
            with _reading(f"{self._path}, array {name!r}"):
                tensors[name] = self._file.get_tensor(name)
            if name in changed:
                tensors[name] = change(name, tensors[name])
        save_file(tensors, target, metadata=self._file.metadata())


@contextmanager
def open_array_file(path: Path) -> Iterator[ArrayFile]:
    """Open a .npz or .safetensors file to read arrays from.

    Raises:
        DataError: If it is damaged, or something else under that name.
    """
    if path.suffix.lower() == ".npz":
        with _open_npz(path) as archive:
            yield _Npz(path, archive)
        return
    with _reading(str(path)):
        file = safe_open(path, framework="pt")
    with file as entered:
        yield _Safetensors(path, entered)


def _open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Open a .npz archive with pickle off."""
    with _reading(str(path)):
        with path.open("rb") as file:  # is_zipfile would take a file that may not be read for no archive
            is_archive = zipfile.is_zipfile(file)
        if not is_archive:
            raise DataError(str(path), "not a .npz archive, or a truncated one", _REMEDY)
        archive = np.load(path, allow_pickle=False)
    assert isinstance(archive, np.lib.npyio.NpzFile)  # what numpy makes of every zip file
    return archive


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn whatever numpy, zipfile and safetensors raise on a damaged file into a DataError."""
    try:
        yield
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise DataError(where, f"cannot be read: {error}", _REMEDY) from error
        raise DataError(
            where,
            "holds pickled Python objects, whose opening could run code: refused",
            "store it with a plain type, e.g. array.astype(str) for text, or array.astype('float32')",
        ) from error
    except PermissionError as error:
        raise DataError(where, f"cannot be read: {error.strerror}", "check the file's permissions") from error
    except (
        OSError,
        EOFError,
        KeyError,
        MemoryError,
        SafetensorError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(where, f"cannot be read: {error or type(error).__name__}", _REMEDY) from error
