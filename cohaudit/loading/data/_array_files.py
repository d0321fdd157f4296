"""Reads and copies files of named arrays, .npz and .safetensors, without running code from them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cohaudit.errors import CohauditError, DataError, printable
from cohaudit.loading.safetensors_header import check_count, check_header
from cohaudit.untrusted import open_regular
from cohaudit.untrusted.zips import check_unpacked, listed

Array = npt.NDArray[Any]

ArrayEdit = Callable[[str, Any], Any]
"""(name of an array, the array) → the array to store instead."""

_LONGEST_REASON = 300
"""Characters of a library's own explanation to show."""
_WRITE_AGAIN = "check that the file is complete, or write it again with the program that made it"
"""Remedy for a damaged file."""


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

    def copy(self, target: Path, edit: ArrayEdit, edited: Collection[str]) -> None:
        """Write a file of the same kind with the same arrays, some of them edited.

        Args:
            target: Path of the new file.
            edit: Returns the array to store; it gets and returns tensors for .safetensors.
            edited: Names of the arrays to edit; the others are copied as they are.

        Raises:
            DataError: If an array cannot be read.
        """


class _Npz:
    """An open .npz archive."""

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
            self._check_size(name, where)
            array = self._archive[name]
        if not isinstance(array, np.ndarray):  # numpy hands out other files in the archive as bytes
            raise DataError(where, "is not an array", _WRITE_AGAIN)
        return array

    def _check_size(self, name: str, where: str) -> None:
        """Raise an error if an array is larger than its entry: numpy takes the memory before it reads."""
        zip_file = self._archive.zip
        assert zip_file is not None
        stored = name if name in zip_file.namelist() else f"{name}.npy"
        if not stored.endswith(".npy"):
            return
        with zip_file.open(stored) as entry:
            version = np.lib.format.read_magic(entry)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(entry)
        # Python's integers: the product of a hostile shape is beyond 64 bits
        size = math.prod(map(int, shape)) * dtype.itemsize
        if not dtype.hasobject and size > zip_file.getinfo(stored).file_size:
            found = f"cannot be read: its header promises {size / 1e6:,.0f} MB, which are not there"
            raise DataError(where, found, _WRITE_AGAIN)

    def copy(self, target: Path, edit: ArrayEdit, edited: Collection[str]) -> None:
        names = self.names()
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{self._path}, array {twice!r}", "occurs twice", _WRITE_AGAIN)
        # entry by entry, not np.savez: unedited arrays keep their bytes, and not all are in memory at once
        with zipfile.ZipFile(self._path) as original, zipfile.ZipFile(target, "w") as written:
            for name, stored in zip(names, original.infolist(), strict=True):
                # with the old date, so that two copies with the same changes are the same file
                entry = zipfile.ZipInfo(stored.filename, stored.date_time)
                entry.compress_type = stored.compress_type
                with written.open(entry, "w", force_zip64=True) as file:
                    if name in edited and stored.filename.endswith(".npy"):
                        array = np.asarray(edit(name, self.read(name)))
                        np.lib.format.write_array(file, array, allow_pickle=False)
                        continue
                    with _reading(f"{self._path}, array {name!r}"):
                        content = original.read(stored)
                    file.write(content)


class _Safetensors:
    """An open .safetensors file."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    def names(self) -> list[str]:
        # sorted: the header of a file lists its tensors in any order
        return sorted(self._file.keys())

    def describe(self, name: str) -> str:
        part = self._file.get_slice(name)
        return f"{name!r} {part.get_shape()} {part.get_dtype()}"

    def read(self, name: str) -> Array:
        with _reading(f"{self._path}, array {name!r}"):
            tensor: torch.Tensor = self._file.get_tensor(name)
            # float(), because numpy has no bfloat16 and no float8
            return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    def copy(self, target: Path, edit: ArrayEdit, edited: Collection[str]) -> None:
        tensors = {}
        for name in self.names():
            with _reading(f"{self._path}, array {name!r}"):
                tensors[name] = self._file.get_tensor(name)
            if name in edited:
                tensors[name] = edit(name, tensors[name])
        save_file(tensors, target, metadata=self._file.metadata())


@contextmanager
def open_array_file(path: Path) -> Iterator[ArrayFile]:
    """Open a .npz or .safetensors file while the block runs.

    Raises:
        DataError: If the file is damaged or of another format.
    """
    if path.suffix.lower() == ".npz":
        with _open_npz(path) as archive:
            yield _Npz(path, archive)
        return
    with _reading(str(path)):
        check_header(path, DataError)
        file: Any = safe_open(path, framework="pt")
        check_count(path, len(file.keys()), DataError)
    with file as entered:
        yield _Safetensors(path, entered)


def _open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Open a .npz archive with pickles disabled."""
    with _reading(str(path)):
        # is_zipfile with a path would say 'not an archive' of a file that may not be read
        with open_regular(path, DataError) as file:
            is_archive = zipfile.is_zipfile(file)
        if not is_archive:
            raise DataError(str(path), "is not a .npz archive, or is truncated", _WRITE_AGAIN)
        check_unpacked(path, listed(path, DataError), DataError)
        archive = np.load(path, allow_pickle=False)
    assert isinstance(archive, np.lib.npyio.NpzFile)  # numpy returns this for every zip file
    return archive


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn the errors that numpy, zipfile and safetensors raise on a damaged file into a DataError."""
    try:
        yield
    except CohauditError:
        raise
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise DataError(where, f"cannot be read: {_reason(error)}", _WRITE_AGAIN) from error
        raise DataError(
            where,
            "holds pickled Python objects, and opening them could run code",
            "store it with a plain type: array.astype(str) for text, or array.astype('float32')",
        ) from error
    except PermissionError as error:
        raise DataError(where, f"cannot be read: {error.strerror}", "check the file's permissions") from error
    # numpy parses a hostile header as Python, and hands types and shapes to itself, as safetensors does to
    # torch: all of them can raise anything
    except Exception as error:
        raise DataError(where, f"cannot be read: {_reason(error)}", _WRITE_AGAIN) from error


def _reason(error: Exception) -> str:
    return printable(str(error).partition("\n")[0] or type(error).__name__, _LONGEST_REASON)
