"""Opens a dataset of any kind, by what the user names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cohaudit.config import Config
from cohaudit.config.file import option_name
from cohaudit.config.found_file import names_code
from cohaudit.errors import ConfigError, DataError, as_named, missing
from cohaudit.loading import git_lfs
from cohaudit.loading.data._arrays import open_arrays
from cohaudit.loading.data._dataset import LabeledDataset, check_repeatable
from cohaudit.loading.data._describe import describe_inputs
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._images import hash_images, list_images, open_images
from cohaudit.loading.data._labels import check_classes
from cohaudit.loading.data._names import refuse_keys, setting
from cohaudit.loading.data._objects import is_frame, open_factory, open_object
from cohaudit.loading.data._table import TableDataset, open_table
from cohaudit.loading.data.originals import (
    ArrayOriginal,
    CsvOriginal,
    ImageOriginal,
    JsonlOriginal,
    Original,
    ParquetOriginal,
)

_log = logging.getLogger(__name__)

_BY_SUFFIX: dict[str, Callable[[Path, Config], LabeledDataset]] = {
    ".npz": open_arrays,
    ".safetensors": open_arrays,
    ".csv": open_table,
    ".jsonl": open_table,
    ".parquet": open_table,
}
"""Extension → function that opens such a file as a dataset."""

_ORIGINALS: dict[str, Callable[[Path, str, str, Sequence[str]], Original]] = {
    ".npz": ArrayOriginal.open,
    ".safetensors": ArrayOriginal.open,
    ".csv": CsvOriginal.open,
    ".jsonl": JsonlOriginal.open,
    ".parquet": ParquetOriginal.open,
}
"""Extension → function that opens such a file for a corrected copy."""


def open_dataset(config: Config, title: str = "Inputs", complete: bool = True) -> LabeledDataset:
    """Open the dataset that the configuration key `data` names.

    Args:
        config: Settings.
        title: Title of the log line that describes the inputs.
        complete: Whether every class must have a sample.

    Raises:
        ConfigError: If `data` is not set, or another key does not apply to this kind of data.
        DataError: If the data cannot be read, or its samples or labels cannot be audited.
        MissingExtraError: If a package needed to read the data is not installed.
    """
    if not config.data:
        raise ConfigError(setting("data"), "is not set", "name the training data")
    # an absolute path stays as it is
    path = config.base / config.data
    # a path comes first: the name of a file may contain a colon
    if not _exists(path) and names_code(config.data):
        refuse_keys(config, "a dataset factory", "inputs", "labels", "ids")
        dataset = open_factory(config)
        code = config.base / config.data.rpartition(":")[0]
        dataset.file = code if code.suffix == ".py" else None
    elif path.is_dir():
        refuse_keys(config, "an image folder", "inputs", "labels", "ids", "data_args")
        dataset = open_images(path, config)
        dataset.file = path
    else:
        refuse_keys(config, "a data file", "data_args")
        dataset = _opener(path)(path, config)
        dataset.file = path
    check_repeatable(dataset)
    return _checked(dataset, title, complete)


def as_dataset(data: Any, config: Config, title: str = "Inputs", complete: bool = True) -> LabeledDataset:
    """Open training data that a Python caller passes.

    Args:
        data: A `LabeledDataset`; a path or factory as in the configuration; or an object for `open_object`.
        config: Settings.
        title: Title of the log line that describes the inputs.
        complete: Whether every class must have a sample.

    Raises:
        ConfigError: If a key does not apply to this kind of data.
        DataError: If the data cannot be read, or its samples or labels cannot be audited.
        MissingExtraError: If a package needed to read the data is not installed.
    """
    if isinstance(data, LabeledDataset):
        return _checked(data, title, complete)
    if isinstance(data, str | Path):
        return open_dataset(replace(config, data=str(data)), title, complete)
    refuse_keys(config, "data in memory", "data_args")
    opened = open_object(data, config)
    check_repeatable(opened)
    return _checked(opened, title, complete)


def with_columns(config: Config, data: Any, like: LabeledDataset) -> Config:
    """Return settings under which a second table is read with the input columns of a first table.

    Columns are matched by name, so their order in the second file does not matter.

    Args:
        config: Settings; if they name input columns, they are returned unchanged.
        data: The second dataset, as `as_dataset` takes it.
        like: The first dataset.
    """
    if isinstance(data, str | Path):
        is_table = _BY_SUFFIX.get(Path(data).suffix.lower()) is open_table
    else:
        is_table = is_frame(data)
    # columns that the user names apply to both tables
    if config.inputs or not is_table or not isinstance(like, TableDataset):
        return config
    return replace(config, inputs=like.columns)


def hash_original(path: Path) -> str:
    """Return the fingerprint of a stored dataset, as an audit records it.

    Args:
        path: A data file, or a folder of class folders.

    Raises:
        DataError: If the data cannot be read, or is made by code.
    """
    _refuse_unstored(path)
    return hash_images(path, list_images(path)) if path.is_dir() else hash_file(path)


def open_original(path: Path, labels: str, ids: str, class_names: Sequence[str]) -> Original:
    """Open a stored dataset to write a corrected copy of it.

    Args:
        path: A .npz, .safetensors, .csv, .jsonl or .parquet file, or a folder of class folders.
        labels: Value of the configuration key `labels`.
        ids: Value of the configuration key `ids`.
        class_names: Class names in the order of the model's outputs.

    Raises:
        ConfigError: If `labels` or `ids` is set for an image folder.
        DataError: If the data cannot be read, or its ids or labels cannot be audited.
    """
    _refuse_unstored(path)
    if path.is_dir():
        for key, value in (("labels", labels), ("ids", ids)):
            if value:
                raise ConfigError(option_name(key), "does not apply to an image folder", f"leave out {key}")
        return ImageOriginal.open(path, class_names)
    return _ORIGINALS[path.suffix.lower()](path, labels, ids, class_names)


def _refuse_unstored(path: Path) -> None:
    """Raise an error unless the path is a file or folder of data."""
    if not _exists(path) and names_code(str(path)):
        raise DataError(
            str(path),
            "is a dataset made by code, so no corrected copy can be written",
            "list the suspects with cohaudit export AUDIT.JSON --format csv, and use the list in that code",
        )
    if not path.is_dir():
        _opener(path)


def _checked(dataset: LabeledDataset, title: str, complete: bool) -> LabeledDataset:
    """Check the classes, log a description of the inputs, and return the dataset."""
    if complete:
        check_classes(dataset.labels, dataset.class_names, dataset.source)
    if _log.isEnabledFor(logging.INFO):  # the description reads samples
        _log.info("%s: %s", title, describe_inputs(dataset))
    return dataset


def _exists(path: Path) -> bool:
    """Tell whether a path exists; raise an error if the file system cannot say."""
    try:
        return path.exists()
    except OSError as error:  # a name that the file system refuses, or a folder that may not be entered
        raise DataError(
            str(path), f"cannot be opened: {error.strerror}", "check the path and the permissions"
        ) from error


def _may_be_data_file(path: Path) -> bool:
    """Tell by its name whether a path may be a data file."""
    return path.suffix.lower() in _BY_SUFFIX


def _may_be_data(path: Path) -> bool:
    """Tell by its name whether a path may be a data file, or a folder of class folders."""
    return _may_be_data_file(path) or path.is_dir()


def _opener(path: Path) -> Callable[[Path, Config], LabeledDataset]:
    """Return the function that opens a file with this extension."""
    if not path.exists():
        # a folder is no suggestion for a name that ends like a file's
        usable = _may_be_data_file if path.suffix else _may_be_data
        raise DataError(as_named(path), *missing(path, usable, "training data"))
    if path.is_file() and git_lfs.is_pointer_file(path):
        raise DataError(str(path), git_lfs.FOUND, git_lfs.REMEDY)
    try:
        return _BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        raise DataError(
            str(path),
            f"has the unknown extension {path.suffix!r}" if path.suffix else "has no extension",
            f"name a {', '.join(_BY_SUFFIX)} file, a folder of class folders, or a factory: file.py:function",
        ) from None
