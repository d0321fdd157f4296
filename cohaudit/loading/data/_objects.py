"""Data that a Python caller gives, or that a factory returns: a DataFrame, two arrays, or a torch Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data._arrays import from_arrays
from cohaudit.loading.data._dataset import LabeledDataset, check_repeatable
from cohaudit.loading.data._frame import common_index, index_ids, open_frame
from cohaudit.loading.data._labels import check_classes
from cohaudit.loading.data._names import refuse_keys
from cohaudit.loading.data._preview import as_numpy
from cohaudit.loading.data._torch_dataset import open_map_style
from cohaudit.loading.data._transform import load_transform
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.results.audit import IN_MEMORY


def open_object(data: Any, config: Config, source: str = IN_MEMORY) -> LabeledDataset:
    """Return a dataset of an object in memory.

    A pair of arrays follows the rules of .npz files: uint8 is an image, scaled to [0, 1]. A DataFrame follows
    those of tables. The inputs of a torch Dataset go into the model unchanged.

    Args:
        data: A DataFrame; a tuple (inputs, labels), each an array, a tensor, a list, a Series or, for inputs,
            a DataFrame; or an object with a length that returns by position (input, label), or a dictionary
            that holds both.
        config: Settings; those that name keys and columns apply to what has any.
        source: Name of the dataset in messages and in the report.

    Raises:
        ConfigError: If a setting does not apply to this kind of data.
        DataError: If the object is none of these, or its samples cannot be audited.
    """
    if isinstance(data, pd.DataFrame):
        return open_frame(data, None, config, source)
    if not _is_pair(data):
        return open_map_style(data, config, source, load_transform(config))
    inputs, labels = data
    if isinstance(inputs, pd.DataFrame):
        refuse_keys(config, "a pair of inputs and labels", "labels")
        return open_frame(inputs, labels, config, source)
    refuse_keys(config, "a pair of inputs and labels", "inputs", "labels", "ids")
    index = common_index(inputs, labels, source)
    dataset = from_arrays(
        _as_array(inputs, source),
        _as_array(labels, source),
        config.class_names,
        source,
        transform=load_transform(config),
        ids=None if index is None else index_ids(index, source),
    )
    dataset.index = index
    return dataset


def is_frame(data: Any) -> bool:
    """Tell whether an object in memory is a table: a DataFrame, or a pair whose inputs are one."""
    return isinstance(data[0] if _is_pair(data) else data, pd.DataFrame)


def from_torch(
    dataset: Any,
    class_names: Sequence[str] | None = None,
    source: str = IN_MEMORY,
    complete: bool = True,
) -> LabeledDataset:
    """Return a dataset of an object in memory, with no other settings than the names of its classes.

    Args:
        dataset: As in `open_object`.
        class_names: Class names in the order of the model's outputs; by default those of the dataset, else
            '0'..'C-1'.
        source: Name of the dataset in messages and in the report.
        complete: Whether every class must have a sample.

    Raises:
        DataError: If the object is not a dataset, or its samples cannot be audited.
    """
    opened = open_object(dataset, Config(class_names=tuple(class_names or ())), source)
    if complete:
        check_classes(opened.labels, opened.class_names, opened.source)
    check_repeatable(opened)
    return opened


def open_factory(config: Config) -> LabeledDataset:
    """Call the factory that the key `data` names, and open the dataset that it returns.

    The factory gets `data_args` as keyword arguments and returns a dataset, or (dataset, class names).

    Raises:
        ConfigError: If the factory cannot be imported, or the arguments do not fit it.
        DataError: If the factory fails, or its dataset cannot be audited.
    """
    factory = load_object(config.data, config.base, "data")
    made = call_factory(
        factory, config.data_args, config.base, where=f"data {config.data}", failure=DataError
    )
    class_names: Any = ()
    # a pair of arrays is the dataset itself, not (dataset, class names)
    if isinstance(made, tuple) and len(made) == 2 and not _is_pair(made):
        made, class_names = made
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
            raise DataError(
                f"data {config.data}",
                "returned a pair whose second part is not a list of class names",
                "return a dataset, or (dataset, class names)",
            )
    names = config.class_names or tuple(class_names)
    return open_object(made, replace(config, class_names=names), config.data)


def _is_pair(data: Any) -> bool:
    """Tell whether a value is (inputs, labels), and not two samples, or a dataset with its class names."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    inputs, labels = data
    if not isinstance(inputs, list):
        return _is_array(inputs) and (_is_array(labels) or _is_flat(labels))
    # two lists can be two samples as well: only labels are single values, as many as there are inputs
    return (_is_array(labels) or _is_flat(labels)) and len(inputs) == len(labels)


def _is_flat(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(value, str | int | float | np.generic) for value in part)


def _is_array(part: Any) -> bool:
    return isinstance(part, pd.DataFrame | pd.Series) or (
        isinstance(part, torch.Tensor | np.ndarray) and part.ndim > 0
    )


def _as_array(part: Any, source: str) -> npt.NDArray[Any]:
    """Return a tensor, an array, a Series or a list as an array."""
    if isinstance(part, pd.Series):
        texts = pd.api.types.is_string_dtype(part) and not part.isna().any()
        return part.to_numpy(dtype=str) if texts else part.to_numpy()
    try:
        return as_numpy(part)
    except ValueError as error:  # lists of several lengths
        raise DataError(
            f"{source}, inputs", f"are no array: {error}", "give inputs of one shape, or (input, label) pairs"
        ) from None
