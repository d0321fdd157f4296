"""Datasets whose samples are the rows of an array: .npz, .safetensors, or two arrays in memory."""

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
from cohaudit.loading.data._inputs import CHANNEL_COUNTS, Inputs, as_inputs
from cohaudit.loading.data._labels import SampleLabels, label_samples
from cohaudit.loading.data._names import ColumnNames, setting
from cohaudit.loading.data._preview import array_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

INPUT_KEYS = ("inputs", "images", "data", "features", "x", "x_train", "train_images")
"""Usual names of the array of inputs, in lower case."""
LABEL_KEYS = ("labels", "targets", "y", "y_train", "train_labels")
"""Usual names of the array of labels."""
ID_KEYS = ("ids", "id")
"""Usual names of the array of sample ids."""
CLASS_KEYS = ("class_names", "classes")
"""Usual names of the array of class names, which has a row for each class and not for each sample."""


class ArrayDataset(LabeledDataset):
    """Samples along the first dimension of an array.

    Without a transform, uint8 is an image: it is scaled to [0, 1] and gets its channels first ([H, W] becomes
    [1, H, W], and [H, W, 1|3|4] becomes [1|3|4, H, W]). Floats and booleans become float32, other integers
    int64. A transform gets one sample's array as stored. The fingerprint covers the file's content, or for
    arrays in memory the type, shape and bytes of inputs and labels.

    Args:
        source: Path as the user gave it, or '(in memory)'.
        fingerprint: SHA-256 of the data, in hex.
        samples: Ids and labels of the samples.
        inputs: Inputs of the samples, [N, ...]; of a numeric type, or of any type with a transform.
        transform: Function to apply to one sample's array.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        samples: SampleLabels,
        inputs: Array,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(source, fingerprint, samples)
        self._inputs = inputs
        self._transform = transform

    @property
    def preparation(self) -> str:
        """Preparation of a stored array, in words; see the class."""
        is_image = self._inputs.dtype == np.uint8
        return in_words(self._transform, "uint8 images scaled by 1/255" if is_image else "")

    def sample(self, index: int) -> Inputs:
        """Return one sample's input, prepared as the class describes.

        Raises:
            DataError: If the transform fails.
        """
        raw = self._inputs[index]
        if self._transform is not None:
            # a copy: a transform that works in place must not change the dataset
            return self._transform(np.copy(raw) if isinstance(raw, np.ndarray) else raw, self.where(index))
        return as_inputs(_as_stored(raw), self.where(index))

    def raw(self, index: int) -> Array:
        """Return the stored array of one sample; of texts, one of no dimensions."""
        return np.asarray(self._inputs[index])

    def preview(self, index: int) -> Preview:
        """Return a picture, the numbers or the text of the stored array."""
        return array_preview(self.raw(index))


def open_arrays(path: Path, config: Config) -> ArrayDataset:
    """Open a .npz or .safetensors file.

    Raises:
        ConfigError: If the configuration names several arrays of inputs.
        DataError: If the file cannot be read, an array is not found, or its content cannot be audited.
    """
    if len(config.inputs) > 1:
        raise ConfigError(
            setting("inputs"),
            f"names {len(config.inputs)} arrays",
            "name one array, whose rows are the samples",
        )
    with open_array_file(path) as file:
        names = ColumnNames(str(path), file.names(), file.describe)
        inputs = file.read(names.require("inputs", "".join(config.inputs), INPUT_KEYS))
        labels_key = names.require("labels", config.labels, LABEL_KEYS)
        labels = file.read(labels_key)
        ids_key = names.find("ids", config.ids, ID_KEYS)
        ids = None if ids_key is None else file.read(ids_key)
        classes = _class_names(file, labels_key)
    fingerprint = hash_file(path)
    transform = load_transform(config)
    _check_inputs(inputs, transform is not None, config.data)
    count = len(inputs)
    sample_ids = row_numbers(count) if ids is None else as_ids(ids, count, f"{config.data}, ids")
    samples = label_samples(sample_ids, labels, config.class_names or classes, config.data)
    return ArrayDataset(config.data, fingerprint, samples, inputs, transform)


def _class_names(file: ArrayFile, labels: str) -> list[str]:
    """Return the class names stored in a file: the array `class_names` or, if it is text, `classes`.

    An array `classes` of numbers, or one that holds the labels, means something else. Without class names the
    list is empty.
    """
    # lower case, as the usual names are
    names = {name.lower(): name for name in file.names()}
    values = file.read(names["class_names"]) if "class_names" in names else np.zeros(0)
    if not values.size and names.get("classes", labels) != labels:
        with suppress(DataError):  # an array of Python objects, which is never read
            classes = file.read(names["classes"])
            values = classes if classes.dtype.kind in "US" else values
    return [text(value) for value in values.reshape(-1).tolist()]


def from_arrays(
    inputs: Array,
    labels: Array,
    class_names: Sequence[str],
    source: str,
    *,
    transform: Transform | None = None,
    ids: Sequence[str] | None = None,
) -> ArrayDataset:
    """Return a dataset of two arrays in memory.

    Args:
        inputs: Inputs of the samples, [N, ...].
        labels: One label for each sample, [N].
        class_names: Class names in the order of the model's outputs; may be empty.
        source: Name of the dataset in messages and in the report.
        transform: Function to apply to one sample's array.
        ids: Ids of the samples; row numbers if left out.

    Raises:
        DataError: If the arrays cannot be audited.
    """
    if labels.dtype.kind == "O":  # the bytes of an object array are addresses, and differ in every run
        labels = np.array(labels.tolist())
    digest = hashlib.sha256()
    # type and shape too: the same bytes can be another array
    for array in (inputs, labels):
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    _check_inputs(inputs, transform is not None, source)
    samples = label_samples(ids or row_numbers(len(inputs)), labels, class_names, source)
    return ArrayDataset(source, digest.hexdigest(), samples, inputs, transform)


def _check_inputs(inputs: Array, transformed: bool, source: str) -> None:
    """Raise an error if it is not clear how to feed the inputs to a model."""
    if inputs.ndim == 0:
        raise DataError(
            f"{source}, inputs", "the array is a single value", "give an array with one row for each sample"
        )
    if inputs.dtype.kind == "O":
        raise DataError(
            f"{source}, inputs",
            "the array holds Python objects, not numbers or text",
            "make it a plain array, or give (input, label) pairs",
        )
    if transformed:
        return
    if inputs.dtype == np.uint8 and inputs.ndim not in {3, 4}:
        raise DataError(
            f"{source}, inputs",
            f"uint8 of shape {list(inputs.shape)} is not images: [N, H, W], [N, H, W, C] or [N, C, H, W]",
            "store numbers as float32 and token ids as int64, or name a function with"
            f" {setting('transform')}",
        )
    # for example [N, 3, 5, 3]: a wrong guess would feed the model transposed images, without any error
    if inputs.dtype == np.uint8 and inputs.ndim == 4 and _may_be_channels(inputs.shape[1], inputs.shape[3]):
        raise DataError(
            f"{source}, inputs",
            f"uint8 of shape {list(inputs.shape)} can be channels first or channels last",
            f"store the images as float32, channels first, or name a function with {setting('transform')}",
        )
    if inputs.dtype.kind not in "biuf":
        raise DataError(
            f"{source}, inputs",
            f"the type is {inputs.dtype}, which a model does not accept",
            f"name a function with {setting('transform')} that turns one sample into a tensor",
        )


def _as_stored(raw: Array) -> Array:
    """Convert one sample to the type and layout that a model accepts."""
    if raw.dtype == np.uint8:
        return np.divide(_channels_first(raw), 255, dtype=np.float32)
    # a float64 beyond float32's range becomes infinite here and is reported with its sample
    with np.errstate(over="ignore"):
        return raw.astype(np.float32 if raw.dtype.kind in "bf" else np.int64)


def _channels_first(image: Array) -> Array:
    """Return an image as [C, H, W]; it counts as channels first unless it is clearly channels last."""
    if image.ndim == 2:
        return image[np.newaxis]
    return np.moveaxis(image, -1, 0) if _may_be_channels(image.shape[-1]) else image


def _may_be_channels(*sizes: int) -> bool:
    """Tell whether each of these dimensions has a size that color channels can have."""
    return all(size in CHANNEL_COUNTS for size in sizes)
