"""Datasets of Python objects: the items of a map-style torch Dataset, or of a list."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from cohaudit.config import Config
from cohaudit.errors import DataError, describe_error
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._ids import as_ids, name_sample, row_numbers
from cohaudit.loading.data._inputs import Inputs, as_inputs, content, stack
from cohaudit.loading.data._items import (
    ItemReader,
    attribute_of,
    class_names_of,
    item_ids,
    labels_as_array,
    reader_of,
)
from cohaudit.loading.data._labels import SampleLabels, label_samples
from cohaudit.loading.data._names import setting
from cohaudit.loading.data._preview import object_preview
from cohaudit.loading.data._transform import Transform, in_words
from cohaudit.results import Preview

_MAX_SAMPLES = 100_000_000
"""Most samples that a dataset may say it has: the results of more do not fit into memory."""


class TorchDataset(LabeledDataset):
    """Samples of a map-style dataset of (input, label) pairs, or of dictionaries that hold both.

    Args:
        source: Factory as the user gave it, or '(in memory)'.
        fingerprint: SHA-256 of every input, as the model gets it, and every label, in hex.
        samples: Ids and labels of the samples.
        items: Reads the dataset's items.
        transform: Function to apply to the input of one item.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        samples: SampleLabels,
        items: ItemReader,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(source, fingerprint, samples)
        self._items = items
        self._transform = transform

    @property
    def preparation(self) -> str:
        """Preparation of the dataset's inputs, in words."""
        return in_words(self._transform, "as the dataset gives them")

    def sample(self, index: int) -> Inputs:
        """Return one sample's input, as tensors.

        Raises:
            DataError: If the dataset or the transform fails.
        """
        return _as_inputs(self.raw(index), self._transform, self.where(index))

    def raw(self, index: int) -> Any:
        """Return the input that the dataset gives.

        Raises:
            DataError: If the dataset fails.
        """
        return self._items.read(index, self.where(index))[0]

    def preview(self, index: int) -> Preview:
        """Return a picture, the text or the numbers of the input before the transform."""
        return object_preview(self.raw(index))


def open_map_style(dataset: Any, config: Config, source: str, transform: Transform | None) -> TorchDataset:
    """Return a map-style dataset, checked.

    Every sample is read once: for its label, for the fingerprint, and to find NaN before the audit starts.
    Ids are in the key `ids` of its items if that is set, or the dataset's `ids` if it has this attribute,
    else positions. Class names that are not given are those that the dataset brings.

    Args:
        dataset: Object with a length that returns items by position.
        config: Settings: `labels`, `ids`, `inputs` and `class_names`.
        source: Name of the dataset in messages and in the report.
        transform: Function to apply to the input of one item.

    Raises:
        ConfigError: If a setting does not apply to its items.
        DataError: If the object is no such dataset, or its samples cannot be audited.
    """
    _check_map_style(dataset, source)
    count = _length(dataset, source)
    items = reader_of(dataset, config, source)
    own_ids = attribute_of(dataset, "ids", source)
    ids = row_numbers(count) if own_ids is None else as_ids(np.asarray(own_ids), count, source)
    digest = hashlib.sha256()
    labels, names = [], []
    for index in range(count):
        where = name_sample(source, ids, index)
        raw, label, name = items.read(index, where)
        inputs = _as_inputs(raw, transform, where)
        stack([inputs], [where])  # raises for NaN
        digest.update(content(inputs) + repr(label).encode())
        labels.append(label)
        names.append(name)
    if items.keys is not None and items.keys.id:
        ids = item_ids(names)
    class_names = config.class_names or class_names_of(dataset, items.keys, source)
    samples = label_samples(ids, labels_as_array(labels, source), class_names, source)
    return TorchDataset(source, digest.hexdigest(), samples, items, transform)


def _as_inputs(raw: Any, transform: Transform | None, where: str) -> Inputs:
    if transform is not None:
        return transform(raw, where)
    keyed = isinstance(raw, Mapping)
    return as_inputs(
        raw, where, f"name the keys that the model takes with {setting('inputs')}" if keyed else ""
    )


def _check_map_style(dataset: Any, source: str) -> None:
    """Raise an error unless the dataset has a length and returns samples by position."""
    if isinstance(dataset, DataLoader):
        raise DataError(source, "is a DataLoader, not a dataset", "give its dataset: loader.dataset")
    if isinstance(dataset, IterableDataset):
        raise DataError(
            source,
            "is an IterableDataset, which cannot return a single sample again",
            "give a map-style dataset with __len__ and __getitem__, such as a list of (input, label) pairs",
        )
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(repr, list(dataset)[:3]))
        raise DataError(
            source,
            f"is a dictionary, of {splits}",
            "give one of its values, such as dataset['train'], or the columns as a DataFrame",
        )
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            source,
            f"is of type {type(dataset).__qualname__}, not a map-style dataset",
            "give an object with __len__ and a __getitem__ that returns (input, label)",
        )


def _length(dataset: Any, source: str) -> int:
    """Return how many samples a dataset says that it has.

    Raises:
        DataError: If it fails to say so, or says what no dataset has.
    """
    try:
        count = len(dataset)
    except Exception as error:  # any: the code of the dataset is the user's
        raise DataError(
            source, f"its length cannot be told: {describe_error(error)}", "correct its __len__"
        ) from error
    if count > _MAX_SAMPLES:
        raise DataError(source, f"says that it has {count:,} samples", "correct its __len__")
    return count
