"""Corrected copies of image folders: an image with a new label moves to the folder of its class."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from cohaudit.errors import DataError
from cohaudit.loading.data._images import every_file, list_images
from cohaudit.loading.data.originals._original import Original, StoredLabels, read_labels


class ImageOriginal(Original):
    """An image folder. All files are copied byte for byte, including hidden ones and other formats.

    Args:
        path: The folder.
        stored: Ids and labels of the samples.
        files: Image of each sample, relative to the folder.
    """

    def __init__(self, path: Path, stored: StoredLabels, files: Sequence[Path]) -> None:
        super().__init__(stored)
        self._root = path
        self._files = files

    @classmethod
    def open(cls, path: Path, class_names: Sequence[str]) -> Self:
        """Open a folder.

        Args:
            path: The folder.
            class_names: Class names in the order of the model's outputs.

        Raises:
            DataError: If it cannot be read, or is not a folder of class folders.
        """
        files = list_images(path)
        ids = [file.as_posix() for file in files]
        folders = [file.parts[0] for file in files]
        return cls(path, read_labels(str(path), ids, folders, class_names), files)

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`. Links are replaced by the files that they lead to."""
        files = every_file(self._root)
        moved = self._moved(relabeled, files)
        left_out = {self._files[position] for position in dropped}
        for file in files:
            if file in left_out:
                continue
            if not (self._root / file).is_file():  # reading a pipe or a device might never end
                raise DataError(str(self._root / file), "is not a regular file", "remove it from the folder")
            place = target / moved.get(file, file)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._root / file, place)
        return {position: moved[self._files[position]].as_posix() for position in relabeled}

    def _moved(self, relabeled: Mapping[int, str], files: Iterable[Path]) -> dict[Path, Path]:
        """Return the new path of each file that gets another class.

        The file keeps its name and its folders below the class folder. If the original has a file of that
        name, even one that moves as well, the moved file gets the next free number: in the copy, no name may
        mean another picture.
        """
        taken = {_key(path) for file in files for path in (file, *file.parents)}
        leaves = {_key(file) for file in files}
        moved = {}
        # sorted: the numbers of new names must not depend on the order of a dict
        for position in sorted(relabeled):
            old = self._files[position]
            new = Path(relabeled[position], *old.parts[1:])
            # a file stands where a folder is needed: the folders below the class are left out
            if any(_key(folder) in leaves for folder in new.parents):
                new = Path(relabeled[position], old.name)
            free = new
            number = 1
            while _key(free) in taken:
                number += 1
                free = new.with_name(f"{new.stem}-{number}{new.suffix}")
            moved[old] = free
            taken |= {_key(path) for path in (free, *free.parents)}
            leaves.add(_key(free))
        return moved


def _key(path: Path) -> str:
    """Return a key that is the same for paths that a case-insensitive file system takes for one."""
    return path.as_posix().casefold()
