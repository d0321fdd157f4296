"""A folder of images: one sub-folder a class."""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._inputs import Inputs, as_inputs
from cohaudit.loading.data._names import setting
from cohaudit.loading.data._preview import image_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

_GREY = frozenset({"1", "L", "LA"})
_SCALED_GREY = frozenset({"I", "I;16", "I;16L", "I;16B", "F"})

# what Pillow's decoders are known to raise on a damaged file
_UNREADABLE = (
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


class ImageFolder(LabeledDataset):
    """Samples as image files, read when asked for; ids are paths relative to the folder.

    Without a transform an image is float32 [C, H, W] in [0, 1], C = 1 when every file is grey (8 or 16 bit),
    else 3; all must have one size. An alpha channel is dropped and the EXIF orientation not applied, as
    training pipelines do by default. A transform gets the PIL image. The fingerprint covers every file's
    relative path and content.

    Args:
        source: Path as given.
        root: The folder.
        files: Images as paths relative to the folder, in order.
        class_names: In the order of the model's outputs; empty: the sorted names of the folders.
        transform: Applied to one PIL image.

    Raises:
        DataError: If a file is no readable image, or sizes differ without a transform.
    """

    def __init__(
        self,
        source: str,
        root: Path,
        files: Sequence[Path],
        class_names: Sequence[str] = (),
        transform: Transform | None = None,
    ) -> None:
        self._root = root
        self._files = list(files)
        self._transform = transform
        modes = set()
        sizes = []
        for file in files:
            with _opened(root / file) as image:
                modes.add(image.mode)
                sizes.append(image.size)
        if transform is None:
            _check_sizes(source, files, sizes)
        self._grey = modes <= _GREY | _SCALED_GREY
        ids = [file.as_posix() for file in files]
        digest = hash_images(root, files)
        super().__init__(source, digest, ids, [file.parts[0] for file in files], class_names)

    @property
    def preparation(self) -> str:
        """What is done to an image, see the class."""
        return in_words(self._transform, f"{'grey' if self._grey else 'RGB'} images scaled to [0, 1]")

    def sample(self, index: int) -> Inputs:
        """Read one image.

        Raises:
            DataError: If it is damaged, or the transform fails.
        """
        with _opened(self._root / self._files[index]) as image:
            image.load()
        if self._transform is not None:
            return self._transform(image, self.where(index))
        return as_inputs(_pixels(image, self._grey, self.where(index)), self.where(index))

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the image itself, which has no lines."""
        return self._root / self._files[index], 0

    def preview(self, index: int) -> Preview:
        """Show a thumbnail."""
        with _opened(self._root / self._files[index]) as image:
            return image_preview(image)


def open_images(path: Path, config: Config) -> ImageFolder:
    """Open a folder of class folders; see `list_images` for the files.

    Raises:
        DataError: If there are no class folders, a class folder has no image, or a file is no image.
    """
    return ImageFolder(config.data, path, list_images(path), config.class_names, load_transform(config))


def list_images(path: Path) -> list[Path]:
    """Return the files of the samples in a folder of class folders, relative to it and sorted.

    Hidden files and folders are left out, and so are files beside the class folders unless they are images;
    everything else in a class folder must be an image.

    Raises:
        DataError: If there are no class folders, or a class folder has no image.
    """
    entries = _entries(path)
    folders = [entry for entry in entries if entry.is_dir()]
    stray = [
        entry
        for entry in entries
        if entry.is_file() and entry.suffix.lower() in Image.registered_extensions()
    ]
    if stray or not folders:
        found = f"the image {stray[0].name} lies outside any class folder" if stray else "no class folders"
        raise DataError(
            str(path), found, "put the images of each class into a folder of its own, named as the class"
        )
    files = []
    for folder in folders:
        inside = list(_files(folder, ()))
        if not inside:
            raise DataError(
                str(folder), "the class folder holds no image", "add images of the class, or remove it"
            )
        files += inside
    return sorted(file.relative_to(path) for file in files)


def every_file(path: Path) -> list[Path]:
    """Return all files below a folder, hidden ones and all, relative to it and sorted.

    Raises:
        DataError: If a folder cannot be read, or a link leads nowhere or in a circle.
    """
    return sorted(file.relative_to(path) for file in _files(path, (), hidden=True))


def hash_images(root: Path, files: Sequence[Path]) -> str:
    """Return the SHA-256 of every file's relative path and content, in hex.

    Args:
        root: The folder.
        files: Relative to it, in order.

    Raises:
        DataError: If one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.as_posix()}\0{hash_file(root / file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _entries(folder: Path, hidden: bool = False) -> list[Path]:
    """Return a folder's entries, sorted, without the hidden ones unless these are wanted too."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if hidden or not entry.name.startswith("."))
    except OSError as error:
        raise DataError(str(folder), f"cannot be read: {error.strerror}", "check its permissions") from error
    broken = next((entry for entry in entries if not entry.exists()), None)
    if broken is not None:
        raise DataError(str(broken), "a link to nothing", "restore what it links to, or remove the link")
    return entries


def _files(folder: Path, above: tuple[Path, ...], hidden: bool = False) -> Iterator[Path]:
    """Return all files below a folder, following links, but not in circles."""
    real = folder.resolve()
    if real in above:
        raise DataError(str(folder), f"links back to {real}", "remove the link: its images would count twice")
    for entry in _entries(folder, hidden):
        if entry.is_dir():
            yield from _files(entry, (*above, real), hidden)
        else:
            yield entry


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow cannot decode inside the block becomes a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            str(path), f"refused as too large: {error}", "scale the image down, or take it out"
        ) from error
    except _UNREADABLE as error:
        raise DataError(
            str(path),
            f"not a readable image: {error or type(error).__name__}",
            "replace it, or take it out of the folder",
        ) from error


def _check_sizes(source: str, files: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    """Raise an error that names two files when not all images have one size."""
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            (width, height) = size
            (first_width, first_height) = sizes[0]
            raise DataError(
                f"{source}, sample {file.as_posix()!r}",
                f"is {width}×{height} pixels, while {files[0].as_posix()!r} is {first_width}×{first_height}",
                f"name a function with {setting('transform')} that resizes or crops each image",
            )


def _pixels(image: Image.Image, grey: bool, where: str) -> npt.NDArray[np.float32]:
    """Return an image's pixels in [0, 1], float32 [1, H, W] or [3, H, W]."""
    if image.mode in _SCALED_GREY:
        deep = np.asarray(image).astype(np.float32)[np.newaxis] / np.float32(
            1 if image.mode == "F" else 65535
        )
        _check_range(deep, image.mode, where)
        return deep if grey else np.repeat(deep, 3, axis=0)
    if image.mode == "P":  # Pillow warns when a palette with transparency goes to RGB directly
        image = image.convert("RGBA")
    values = np.asarray(image.convert("L" if grey else "RGB")).astype(np.float32) / np.float32(255)
    return values[np.newaxis] if grey else values.transpose(2, 0, 1)


def _check_range(values: npt.NDArray[np.float32], mode: str, where: str) -> None:
    """Raise an error when pixels are not in [0, 1]: their scale is unknown."""
    if values.min(initial=0) < 0 or values.max(initial=0) > 1:
        raise DataError(
            where,
            f"its pixels (Pillow's mode {mode}) have no fixed white level",
            f"name a function with {setting('transform')} that scales the image",
        )
