"""A folder of class folders: a file that gets another class goes into that class's folder."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.loading.data._images import every_file, list_images
from cohaudit.loading.data.originals._original import Original


class ImageOriginal(Original):
    """An image folder. All files are copied bytewise, also hidden ones and those that are no images.

    Args:
        path: The folder.
        class_names: In the order of the model's outputs.

    Raises:
        DataError: If it cannot be read, or is no folder of class folders.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._root = path
        self._files = list_images(path)
        ids = [file.as_posix() for file in self._files]
        super().__init__(str(path), ids, [file.parts[0] for file in self._files], class_names)

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`: links are replaced by what they lead to."""
        files = every_file(self._root)
        moved = self._moved(relabeled, files)
        left = {self._files[position] for position in dropped}
        for file in files:
            if file in left:
                continue
            if not (self._root / file).is_file():  # reading a pipe or a device might not end
                raise DataError(str(self._root / file), "is no regular file", "take it out of the folder")
            place = target / moved.get(file, file)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._root / file, place)
        return {position: moved[self._files[position]].as_posix() for position in relabeled}

    def _moved(self, relabeled: Mapping[int, str], files: Iterable[Path]) -> dict[Path, Path]:
        """Return the new place of each file that gets another class.

        It keeps its name and its folders below the class. Where that name is taken in the original, even by a
        file that goes elsewhere, so that no name ever means another picture, it gets the next free number.
        """
        taken = {_key(path) for file in files for path in (file, *file.parents)}
        leaves = {_key(file) for file in files}
        moved = {}
        for position in sorted(relabeled):
            old = self._files[position]
            new = Path(relabeled[position], *old.parts[1:])
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
    """Return what two paths share that some file systems take for one."""
    return path.as_posix().casefold()
