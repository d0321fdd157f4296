"""Files of named arrays: .npz and .safetensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cohaudit.loading.data._array_files import open_array_file
from cohaudit.loading.data._arrays import CLASS_KEYS, ID_KEYS, LABEL_KEYS
from cohaudit.loading.data._ids import as_ids, row_numbers
from cohaudit.loading.data._names import Names
from cohaudit.loading.data.originals._original import Original


class ArrayOriginal(Original):
    """A .npz or .safetensors file. Arrays that do not change are copied as they are.

    Args:
        path: The file.
        labels: Name of the array of labels; empty: found by name.
        ids: Name of the array of ids; empty: found by name, else row numbers.
        class_names: In the order of the model's outputs.

    Raises:
        DataError: If it cannot be read, or an array is not found.
    """

    def __init__(self, path: Path, labels: str, ids: str, class_names: Sequence[str]) -> None:
        self._path = path
        with open_array_file(path) as file:
            names = Names(str(path), file.names(), file.describe)
            self._label = names.require("labels", labels, LABEL_KEYS)
            given = file.read(self._label)
            key = names.find("ids", ids, ID_KEYS)
            found = None if key is None else file.read(key)
        count = len(given) if given.ndim else 0
        listed = row_numbers(count) if found is None else as_ids(found, count, f"{path}, ids")
        super().__init__(str(path), listed, given, class_names)

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`; samples are left out of every array that has a row for each."""
        donors = self._donors(relabeled)
        kept = self._kept(dropped)

        def change(name: str, array: Any) -> Any:
            if name == self._label:
                array = array[donors]
            named = name != self._label and name.lower() in CLASS_KEYS
            return array if named or not array.ndim or len(array) != len(donors) else array[kept]

        with open_array_file(self._path) as file:
            file.copy(target, change, file.names() if dropped else [self._label])
        return {}
