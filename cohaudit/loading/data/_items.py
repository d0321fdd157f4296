"""Reads one item of a map-style dataset: an (input, label) pair, or a dictionary that holds both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cohaudit.config import Config
from cohaudit.errors import DataError, describe_error
from cohaudit.loading.data._ids import text
from cohaudit.loading.data._names import ColumnNames, refuse_keys

LABEL_KEYS = ("labels", "label", "label_ids", "target", "targets", "class", "y")
"""Usual names of the label in an item that is a dictionary, as those of Hugging Face's datasets."""


@dataclass(frozen=True)
class ItemKeys:
    """Where an item that is a dictionary holds its label, its id and its inputs."""

    label: str
    """Key of the label."""
    id: str
    """Key of the sample's id; empty without one."""
    inputs: tuple[str, ...]
    """Keys of the inputs."""


@dataclass(frozen=True)
class ItemReader:
    """Reads the items of one dataset.

    Attributes:
        dataset: Object with a length that returns items by position.
        keys: Where a dictionary holds what; None if items are pairs.
    """

    dataset: Any
    keys: ItemKeys | None

    def read(self, index: int, where: str) -> tuple[Any, int | float | str, Any]:
        """Return one sample's raw input, its label, and its id, None without one.

        Args:
            index: Position of the sample.
            where: The sample, for messages.

        Raises:
            DataError: If the dataset fails on it, or returns something else than its first item.
        """
        item = _item(self.dataset, index, where)
        if self.keys is None:
            inputs, label = _pair(item, where)
            return inputs, _label(label, where), None
        values = _values(item, self.keys, where)
        name = values[self.keys.id] if self.keys.id else None
        inputs = {key: values[key] for key in self.keys.inputs}
        return inputs, _label(values[self.keys.label], where), name


def reader_of(dataset: Any, config: Config, source: str) -> ItemReader:
    """Return a reader for a dataset, by what its first item is.

    Args:
        dataset: Object with a length that returns items by position; an empty one is read as pairs.
        config: Settings: `labels`, `ids` and `inputs` name keys of an item that is a dictionary.
        source: Name of the dataset, for messages.

    Raises:
        ConfigError: If one of these settings is set, and items are pairs.
        DataError: If the first item cannot be read, or has no label under a usual key.
    """
    first = _item(dataset, 0, f"{source}, sample '0'") if len(dataset) else None
    if not isinstance(first, Mapping):
        refuse_keys(config, "pairs of input and label", "inputs", "labels", "ids")
        return ItemReader(dataset, None)
    names = [str(name) for name in first]
    known = ColumnNames(source, names, container="an item")
    label = known.require("labels", config.labels, LABEL_KEYS)
    # never by a usual name: the `id` of an item is often the number of a document, of which there are several
    name = known.find("ids", config.ids) or ""
    inputs = tuple(known.require("inputs", one) for one in config.inputs)
    inputs = inputs or tuple(one for one in names if one not in {label, name})
    if not inputs:
        raise DataError(f"{source}, sample '0'", f"the item has no key besides {label!r}", "add the input")
    return ItemReader(dataset, ItemKeys(label, name, inputs))


def item_ids(names: Sequence[Any]) -> list[str]:
    """Return the ids that items hold, as text."""
    return [text(name.item() if isinstance(name, torch.Tensor | np.generic) else name) for name in names]


def attribute_of(dataset: Any, name: str, source: str) -> Any:
    """Return an attribute of a dataset; None if it has none.

    Args:
        dataset: The dataset.
        name: Name of the attribute.
        source: Name of the dataset, for messages.

    Raises:
        DataError: If reading it fails.
    """
    try:
        return getattr(dataset, name, None)
    except Exception as error:  # a property is code of the user's
        raise DataError(
            source, f"its attribute {name} fails: {describe_error(error)}", "correct it, or remove it"
        ) from error


def class_names_of(dataset: Any, keys: ItemKeys | None, source: str) -> list[str]:
    """Return the class names that a dataset brings; empty if it brings none.

    They are in its attribute `class_names` or, as in torchvision, `classes`; or, as in Hugging Face's
    datasets, in the feature of the label.

    Args:
        dataset: The dataset.
        keys: Where its items hold the label, if they are dictionaries.
        source: Name of the dataset, for messages.

    Raises:
        DataError: If one of its attributes cannot be read.
    """
    brought = [attribute_of(dataset, name, source) for name in ("class_names", "classes")]
    features = attribute_of(dataset, "features", source)
    if keys is not None and isinstance(features, Mapping):
        brought.append(getattr(features.get(keys.label), "names", None))
    for names in brought:
        if isinstance(names, list | tuple | np.ndarray) and len(names):
            return [str(name) for name in names]
    return []


def labels_as_array(labels: Sequence[int | float | str], source: str) -> npt.NDArray[Any]:
    """Return labels as an array, [N], of text or of numbers.

    Raises:
        DataError: If some are text and others numbers.
    """
    kinds = {isinstance(label, str) for label in labels}
    if len(kinds) > 1:
        raise DataError(
            f"{source}, labels", "text and numbers are mixed", "give class numbers, or class names"
        )
    return np.asarray(labels)


def _item(dataset: Any, index: int, where: str) -> Any:
    # any exception: the code of the dataset is the user's
    try:
        return dataset[index]
    except Exception as error:
        raise DataError(
            where, f"the dataset failed on it: {describe_error(error)}", "correct the dataset"
        ) from error


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        is_sequence = isinstance(item, tuple | list)
        kind = f"{len(item)} values" if is_sequence else f"an object of type {type(item).__qualname__}"
        raise DataError(
            where,
            f"the dataset returned {kind}, not (input, label)",
            "return pairs: (input, label); give arrays as a tuple: (inputs, labels)",
        )
    return item[0], item[1]


def _values(item: Any, keys: ItemKeys, where: str) -> Mapping[str, Any]:
    needed = [key for key in (keys.label, keys.id, *keys.inputs) if key]
    if not isinstance(item, Mapping) or not all(key in item for key in needed):
        found = (
            f"the keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else type(item).__qualname__
        )
        raise DataError(
            where,
            f"the dataset returned {found:.200}",
            f"return a dictionary with the keys {', '.join(needed)}",
        )
    return item


def _label(value: Any, where: str) -> int | float | str:
    """Return one sample's label as a plain number or text."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        if isinstance(value, torch.Tensor | np.ndarray) and len(value.reshape(-1)) != 1:
            raise DataError(
                where,
                f"the label has shape {list(value.shape)}",
                "give one class number for each sample; for a one-hot label, label.argmax()",
            )
        value = value.item()
    if not isinstance(value, int | float | str):
        raise DataError(
            where, f"the label is of type {type(value).__qualname__}", "give a class number or a class name"
        )
    return value
