"""Datasets of image files: a folder with one folder for each class."""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading import git_lfs
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._inputs import Inputs, as_inputs
from cohaudit.loading.data._labels import SampleLabels, label_samples
from cohaudit.loading.data._names import setting
from cohaudit.loading.data._preview import image_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

_log = logging.getLogger(__name__)

_GREY_MODES = frozenset({"1", "L", "LA"})
"""Pillow's modes of grey images with 8 bits or fewer."""
_DEEP_GREY_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "F"})
"""Pillow's modes of grey images with 16 bits or more."""

_BESIDE_IMAGES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
"""Files and folders, in lower case, that Windows and macOS leave among the files that people put there; those
of macOS and of notebooks that begin with a dot are hidden."""
_MOST_NAMED = 3
"""Names of files left out to list in a notice."""

_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Errors that Pillow's decoders are known to raise on a damaged file."""


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder, one for each sample."""

    root: Path
    """The folder."""
    paths: Sequence[Path]
    """Paths relative to the folder, in the order of the samples."""
    grey: bool
    """Whether every image is grey; else all are read as RGB."""


class ImageFolder(LabeledDataset):
    """Samples as image files, read on demand. Ids are paths relative to the folder.

    Without a transform an image becomes float32 [C, H, W] in [0, 1]. C is 1 if every file is grey (8 or 16
    bit), else 3. All images must have one size. An alpha channel is dropped and the EXIF orientation is not
    applied, as training pipelines do by default. A transform gets the PIL image. The fingerprint covers every
    file's relative path and content.

    Args:
        source: Path as the user gave it.
        fingerprint: SHA-256 of the files, in hex.
        samples: Ids and labels of the samples.
        images: Files of the samples.
        transform: Function to apply to one PIL image.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        samples: SampleLabels,
        images: ImageFiles,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(source, fingerprint, samples)
        self._images = images
        self._transform = transform

    @property
    def preparation(self) -> str:
        """Preparation of an image, in words; see the class."""
        return in_words(self._transform, f"{'grey' if self._images.grey else 'RGB'} images scaled to [0, 1]")

    def sample(self, index: int) -> Inputs:
        """Read one image.

        Raises:
            DataError: If the image is damaged, or the transform fails.
        """
        image = self.raw(index)
        if self._transform is not None:
            return self._transform(image, self.where(index))
        return as_inputs(_pixels(image, self._images.grey, self.where(index)), self.where(index))

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the image file and line 0."""
        return self._path(index), 0

    def raw(self, index: int) -> Image.Image:
        """Read one image, in the mode of its file.

        Raises:
            DataError: If the image is damaged.
        """
        with _opened(self._path(index)) as image:
            image.load()  # inside the block: opening reads only the header, and decoding can fail
        return image

    def preview(self, index: int) -> Preview:
        """Return a thumbnail."""
        with _opened(self._path(index)) as image:
            return image_preview(image)

    def _path(self, index: int) -> Path:
        return self._images.root / self._images.paths[index]


def open_images(path: Path, config: Config) -> ImageFolder:
    """Open a folder of class folders; see `list_images` for the files.

    Raises:
        DataError: If there are no class folders, a class folder is empty, a file is not an image, or sizes
            differ and there is no transform.
    """
    paths = list_images(path)
    _say_left_out(path, paths)
    transform = load_transform(config)
    modes = set()
    sizes = []
    for file in paths:
        with _opened(path / file) as image:
            modes.add(image.mode)
            sizes.append(image.size)
    # a transform may bring images of different sizes to one size
    if transform is None:
        _check_sizes(config.data, paths, sizes)
    images = ImageFiles(path, paths, grey=modes <= _GREY_MODES | _DEEP_GREY_MODES)
    fingerprint = hash_images(path, paths)
    ids = [file.as_posix() for file in paths]
    folders = [file.parts[0] for file in paths]
    samples = label_samples(ids, folders, config.class_names, config.data)
    return ImageFolder(config.data, fingerprint, samples, images, transform)


def list_images(path: Path) -> list[Path]:
    """Return the image files in a folder of class folders, relative to it and sorted.

    Hidden files and folders are skipped, and so are those that operating systems leave, and files beside the
    class folders that are not images. Every other file in a class folder must be an image.

    Raises:
        DataError: If there are no class folders, an image lies beside them, or a class folder is empty.
    """
    entries = _entries(path)
    folders = [entry for entry in entries if entry.is_dir()]
    stray = [
        entry
        for entry in entries
        if entry.is_file() and entry.suffix.lower() in Image.registered_extensions()
    ]
    if stray or not folders:
        found = f"the image {stray[0].name} is outside the class folders" if stray else "has no class folders"
        raise DataError(
            str(path), found, "put the images of each class into a folder with the name of the class"
        )
    files = []
    for folder in folders:
        inside = list(_files(folder, ()))
        if not inside:
            raise DataError(
                str(folder), "the class folder holds no images", "add images, or remove the folder"
            )
        files += inside
    return sorted(file.relative_to(path) for file in files)


def every_file(path: Path) -> list[Path]:
    """Return all files below a folder, including hidden ones, relative to it and sorted.

    Raises:
        DataError: If a folder cannot be read, or a link is broken or leads in a circle.
    """
    return sorted(file.relative_to(path) for file in _files(path, (), hidden=True))


def hash_images(root: Path, files: Sequence[Path]) -> str:
    """Return the SHA-256 of every file's relative path and content, in hex.

    Args:
        root: The folder.
        files: Paths relative to the folder, in order.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        # surrogateescape: a file name need not be valid UTF-8
        digest.update(f"{file.as_posix()}\0{hash_file(root / file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _entries(folder: Path, hidden: bool = False) -> list[Path]:
    """Return a folder's entries, sorted; hidden ones and those of operating systems only on request."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if hidden or not _is_left_out(entry))
    except OSError as error:
        raise DataError(
            str(folder), f"cannot be read: {error.strerror}", "check the folder's permissions"
        ) from error
    broken = next((entry for entry in entries if not entry.exists()), None)
    if broken is not None:
        raise DataError(str(broken), "is a broken link", "restore the target of the link, or remove the link")
    return entries


def _is_left_out(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in _BESIDE_IMAGES


def _say_left_out(root: Path, images: Sequence[Path]) -> None:
    """Name what lies in the class folders, or looks like one, and is no image because of its name."""
    folders = sorted({file.parent for file in images} | {Path()})
    names = sorted(
        (folder / entry.name).as_posix()
        for folder in folders
        for entry in (root / folder).iterdir()
        if _is_left_out(entry) and (entry.is_dir() or folder.parts)
    )
    if names:
        more = ", …" if len(names) > _MOST_NAMED else ""
        _log.info("left out, not images: %s%s (%d)", ", ".join(names[:_MOST_NAMED]), more, len(names))


def _files(folder: Path, above: tuple[Path, ...], hidden: bool = False) -> Iterator[Path]:
    """Yield all files below a folder; links are followed, and a circle of links is an error."""
    # resolved: a circle of links has endlessly many paths, but few real folders
    real = folder.resolve()
    if real in above:
        raise DataError(
            str(folder), f"is a link back to {real}", "remove the link: its images would count twice"
        )
    for entry in _entries(folder, hidden):
        if entry.is_dir():
            yield from _files(entry, (*above, real), hidden)
        else:
            yield entry


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; errors of Pillow inside the block become a DataError."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its limit, but such an image takes over a gigabyte as float32
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            str(path), f"is too large: {error}", "scale the image down, or remove it from the folder"
        ) from error
    except _DECODING_ERRORS as error:
        if git_lfs.is_pointer_file(path):
            raise DataError(str(path), git_lfs.FOUND, git_lfs.REMEDY) from error
        raise DataError(
            str(path),
            f"is not a readable image: {error or type(error).__name__}",
            "replace the file, or remove it from the folder",
        ) from error


def _check_sizes(source: str, files: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    """Raise an error that names two files if the images differ in size."""
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            (width, height) = size
            (first_width, first_height) = sizes[0]
            raise DataError(
                f"{source}, sample {file.as_posix()!r}",
                f"is {width}×{height} pixels, but {files[0].as_posix()!r} is {first_width}×{first_height}",
                f"name a function with {setting('transform')} that resizes or crops each image",
            )


def _pixels(image: Image.Image, grey: bool, where: str) -> npt.NDArray[np.float32]:
    """Return an image's pixels in [0, 1], float32 [1, H, W] or [3, H, W]."""
    if image.mode in _DEEP_GREY_MODES:
        white = np.float32(1 if image.mode == "F" else 65535)  # Pillow opens 16-bit files in mode I
        deep = np.asarray(image).astype(np.float32)[np.newaxis] / white
        _check_range(deep, image.mode, where)
        return deep if grey else np.repeat(deep, 3, axis=0)
    if image.mode == "P":  # Pillow warns if a palette with transparency is converted to RGB directly
        image = image.convert("RGBA")
    values = np.asarray(image.convert("L" if grey else "RGB")).astype(np.float32) / np.float32(255)
    return values[np.newaxis] if grey else values.transpose(2, 0, 1)


def _check_range(values: npt.NDArray[np.float32], mode: str, where: str) -> None:
    """Raise an error if pixels are not in [0, 1]: their scale is unknown."""
    if values.min(initial=0) < 0 or values.max(initial=0) > 1:
        raise DataError(
            where,
            f"the white level of its pixels is unknown (Pillow's mode {mode})",
            f"name a function with {setting('transform')} that scales the image",
        )
