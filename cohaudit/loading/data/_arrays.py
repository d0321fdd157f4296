"""Samples as rows of an array: .npz, .safetensors, or a pair of arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from cohaudit.config import Config
from cohaudit.errors import ConfigError, DataError
from cohaudit.loading.data._array_files import Array, ArrayFile, open_array_file
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._ids import as_ids, row_numbers, text
from cohaudit.loading.data._inputs import Inputs, as_inputs
from cohaudit.loading.data._names import Names, setting
from cohaudit.loading.data._preview import array_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

INPUT_KEYS = ("inputs", "images", "data", "features", "x", "x_train", "train_images")
LABEL_KEYS = ("labels", "targets", "y", "y_train", "train_labels")
ID_KEYS = ("ids", "id")
CLASS_KEYS = ("class_names", "classes")
"""Arrays of one name a class, not of a row a sample."""

_CHANNELS = (1, 3, 4)


class ArrayDataset(LabeledDataset):
    """Samples along the first dimension of an array.

    Without a transform, uint8 is an image, scaled to [0, 1] with channels first ([H, W] becomes [1, H, W],
    [H, W, 1|3|4] becomes [1|3|4, H, W]); floats and booleans go in as float32, other integers as int64.
    A transform gets one sample's array as stored. The fingerprint covers the file's content, or in memory
    the type, shape and bytes of inputs and labels.

    Args:
        source: Path as given, or '(in memory)'.
        fingerprint: SHA-256 of the data, hex.
        inputs: [N, ...], of a numeric type; of any type with a transform.
        labels: [N], see `LabeledDataset`.
        ids: [N]; None: row numbers.
        class_names: In the order of the model's outputs; may be empty.
        transform: Applied to one sample's array.

    Raises:
        DataError: If the arrays do not fit each other, or the inputs need a transform.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        inputs: Array,
        labels: Array,
        ids: Array | None = None,
        class_names: Sequence[str] = (),
        transform: Transform | None = None,
    ) -> None:
        if inputs.ndim == 0:
            raise DataError(f"{source}, inputs", "a single value", "give an array with one entry a sample")
        _check_type(inputs, transform is not None, source)
        names = row_numbers(len(inputs)) if ids is None else as_ids(ids, len(inputs), f"{source}, ids")
        super().__init__(source, fingerprint, names, labels, class_names)
        self._inputs = inputs
        self._transform = transform

    @property
    def preparation(self) -> str:
        """What is done to a stored array, see the class."""
        is_image = self._inputs.dtype == np.uint8
        return in_words(self._transform, "uint8 images scaled by 1/255" if is_image else "")

    def sample(self, index: int) -> Inputs:
        """Return one sample's input, see the class.

        Raises:
            DataError: If the transform fails.
        """
        raw = self._inputs[index]
        if self._transform is not None:
            return self._transform(np.copy(raw) if isinstance(raw, np.ndarray) else raw, self.where(index))
        return as_inputs(_as_stored(raw), self.where(index))

    def preview(self, index: int) -> Preview:
        """Show the stored array: an image by its shape, else its numbers or text."""
        return array_preview(np.asarray(self._inputs[index]))


def open_arrays(path: Path, config: Config) -> ArrayDataset:
    """Open a .npz or .safetensors file.

    Raises:
        ConfigError: If several inputs are named.
        DataError: If the file cannot be read, an array is not found, or its content cannot be audited.
    """
    if len(config.inputs) > 1:
        raise ConfigError(
            setting("inputs"),
            f"names {len(config.inputs)} arrays",
            "name one array; the samples are its rows",
        )
    with open_array_file(path) as file:
        names = Names(str(path), file.names(), file.describe)
        inputs = file.read(names.require("inputs", "".join(config.inputs), INPUT_KEYS))
        labels_key = names.require("labels", config.labels, LABEL_KEYS)
        labels = file.read(labels_key)
        ids_key = names.find("ids", config.ids, ID_KEYS)
        ids = None if ids_key is None else file.read(ids_key)
        classes = _class_names(file, labels_key)
    return ArrayDataset(
        config.data,
        hash_file(path),
        inputs,
        labels,
        ids,
        config.class_names or classes,
        load_transform(config),
    )


def _class_names(file: ArrayFile, labels: str) -> list[str]:
    """Return the names in the array `class_names` or, if they are text, `classes`; none without either.

    `classes` that are no text, or the labels themselves, are something else that goes by that name.
    """
    names = {name.lower(): name for name in file.names()}
    values = file.read(names["class_names"]) if "class_names" in names else np.zeros(0)
    if not values.size and names.get("classes", labels) != labels:
        with suppress(DataError):  # Python objects, which are not read
            found = file.read(names["classes"])
            values = found if found.dtype.kind in "US" else values
    return [text(value) for value in values.reshape(-1).tolist()]


def from_arrays(
    inputs: Array, labels: Array, class_names: Sequence[str], source: str, transform: Transform | None = None
) -> ArrayDataset:
    """Make a dataset of two arrays in memory.

    Raises:
        DataError: If they cannot be audited.
    """
    if labels.dtype.kind == "O":  # whose bytes are addresses
        labels = np.array(labels.tolist())
    digest = hashlib.sha256()
    for array in (inputs, labels):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return ArrayDataset(source, digest.hexdigest(), inputs, labels, None, class_names, transform)


def _check_type(inputs: Array, transformed: bool, source: str) -> None:
    """Raise an error when it is not plain how the inputs go into a model."""
    if inputs.dtype.kind == "O":
        raise DataError(
            f"{source}, inputs",
            "Python objects, not numbers or text",
            "make it a plain array, or give (input, label) pairs",
        )
    if transformed:
        return
    if inputs.dtype == np.uint8 and inputs.ndim not in {3, 4}:
        raise DataError(
            f"{source}, inputs",
            f"uint8 of shape {list(inputs.shape)}, neither [N, H, W] nor [N, H, W, C] nor [N, C, H, W]",
            f"store numbers as float32, token ids as int64, or name a function with {setting('transform')}",
        )
    if inputs.dtype == np.uint8 and inputs.ndim == 4 and _may_be_channels(inputs.shape[1], inputs.shape[3]):
        raise DataError(
            f"{source}, inputs",
            f"uint8 of shape {list(inputs.shape)} can be channels first or channels last",
            f"store the images as float32, channels first, or name a function with {setting('transform')}",
        )
    if inputs.dtype.kind not in "biuf":
        raise DataError(
            f"{source}, inputs",
            f"the type {inputs.dtype} cannot go into a model",
            f"name a function with {setting('transform')} that turns one sample into a tensor",
        )


def _as_stored(raw: Array) -> Array:
    """Bring one sample into the type and layout that a model takes."""
    if raw.dtype == np.uint8:
        return np.divide(_channels_first(raw), 255, dtype=np.float32)
    # a float64 beyond float32's range becomes infinite here and is reported with its sample
    with np.errstate(over="ignore"):
        return raw.astype(np.float32 if raw.dtype.kind in "bf" else np.int64)


def _channels_first(image: Array) -> Array:
    """Return an image as [C, H, W]; what is not clearly channels last is taken to be channels first."""
    if image.ndim == 2:
        return image[np.newaxis]
    return np.moveaxis(image, -1, 0) if _may_be_channels(image.shape[-1]) else image


def _may_be_channels(*sizes: int) -> bool:
    """Tell whether every one of some dimensions has the size of color channels."""
    return all(size in _CHANNELS for size in sizes)
