"""Corrected copies of files of named arrays: .npz and .safetensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cohaudit.loading.data._array_files import open_array_file
from cohaudit.loading.data._arrays import CLASS_KEYS, ID_KEYS, LABEL_KEYS
from cohaudit.loading.data._ids import as_ids, row_numbers
from cohaudit.loading.data._names import ColumnNames
from cohaudit.loading.data.originals._original import Original, StoredLabels, read_labels


class ArrayOriginal(Original):
    """A .npz or .safetensors file. Arrays that do not change are copied as they are.

    Args:
        path: The file.
        stored: Ids and labels of the samples.
        label_key: Name of the array of labels.
    """

    def __init__(self, path: Path, stored: StoredLabels, label_key: str) -> None:
        super().__init__(stored)
        self._path = path
        self._label_key = label_key

    @classmethod
    def open(cls, path: Path, labels: str, ids: str, class_names: Sequence[str]) -> Self:
        """Open a file.

        Args:
            path: The file.
            labels: Name of the array of labels; empty to find it by a usual name.
            ids: Name of the array of ids; empty to find it by a usual name, else to use row numbers.
            class_names: Class names in the order of the model's outputs.

        Raises:
            DataError: If the file cannot be read, or an array is not found.
        """
        with open_array_file(path) as file:
            names = ColumnNames(str(path), file.names(), file.describe)
            label_key = names.require("labels", labels, LABEL_KEYS)
            given = file.read(label_key)
            id_key = names.find("ids", ids, ID_KEYS)
            own_ids = None if id_key is None else file.read(id_key)
        count = len(given) if given.ndim else 0
        sample_ids = row_numbers(count) if own_ids is None else as_ids(own_ids, count, f"{path}, ids")
        return cls(path, read_labels(str(path), sample_ids, given, class_names), label_key)

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`. Dropped samples leave every array that has a row for each sample."""
        donors = self._donors(relabeled)
        remaining = self._remaining(dropped)

        def edit(name: str, array: Any) -> Any:
            if name == self._label_key:
                array = array[donors]
            # as many classes as samples, perhaps: rows of these arrays are classes all the same
            is_class_names = name != self._label_key and name.lower() in CLASS_KEYS
            has_row_per_sample = array.ndim and len(array) == len(donors) and not is_class_names
            return array[remaining] if has_row_per_sample else array

        with open_array_file(self._path) as file:
            file.copy(target, edit, file.names() if dropped else [self._label_key])
        return {}
