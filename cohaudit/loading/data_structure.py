"""Compares the structure of two data sets from what their files say first, without reading the samples."""

from __future__ import annotations

import csv
import itertools
import json
import struct
import zipfile
from pathlib import Path

MAX_START = 1 << 20
"""Bytes of a file that are read to learn its structure."""
MAX_CLASS_FOLDERS = 10_000
"""Entries of an image folder that are looked at."""


def same_structure(one: Path, other: Path) -> bool:
    """Return whether two data sets have the same form: equal arrays or columns, or no class but the second's.

    Two Parquet tables count as the same: to read their columns takes a package that may be missing.

    Args:
        one: File or folder; its class folders may be fewer.
        other: File or folder to compare with.
    """
    if one.is_dir() or other.is_dir():
        return one.is_dir() and other.is_dir() and _folders(one) <= _folders(other)
    if one.suffix.lower() != other.suffix.lower():
        return False
    if one.suffix.lower() == ".parquet":
        return True
    names = _names(one)
    return names is not None and names == _names(other)


def _folders(path: Path) -> set[str]:
    """Return the names of the visible folders in a folder; none if it cannot be read."""
    try:
        entries = list(itertools.islice(path.iterdir(), MAX_CLASS_FOLDERS))
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except OSError:
        return set()


def _names(path: Path) -> set[str] | None:
    """Return the names of a file's arrays or columns; None if it cannot be read."""
    try:
        match path.suffix.lower():
            case ".npz":
                with zipfile.ZipFile(path) as archive:
                    return set(archive.namelist())
            case ".safetensors":
                return _tensor_names(path)
            case ".csv":
                with path.open(encoding="utf-8-sig", newline="") as file:
                    return set(next(csv.reader(file.readline(MAX_START) for _ in range(1)), []))
            case ".jsonl":
                with path.open(encoding="utf-8-sig") as file:
                    return set(json.loads(file.readline(MAX_START)))
    # of these: not a zip, not JSON, not UTF-8 (a ValueError), an object without names, too deep
    except (OSError, zipfile.BadZipFile, ValueError, TypeError, RecursionError, struct.error, csv.Error):
        return None
    return None


def _tensor_names(path: Path) -> set[str] | None:
    """Return the names in the header of a .safetensors file, which begins with the header's length."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_START:
            return None
        return set(json.loads(file.read(length))) - {"__metadata__"}
