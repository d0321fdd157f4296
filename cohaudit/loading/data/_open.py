"""From what the user names to a dataset: which kind is it?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cohaudit.config import Config
from cohaudit.config.file import option_name
from cohaudit.errors import ConfigError, DataError, missing
from cohaudit.loading.data._arrays import open_arrays
from cohaudit.loading.data._dataset import LabeledDataset, check_repeatable
from cohaudit.loading.data._describe import describe_inputs
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._images import hash_images, list_images, open_images
from cohaudit.loading.data._labels import check_classes
from cohaudit.loading.data._names import setting
from cohaudit.loading.data._table import TableDataset, open_table
from cohaudit.loading.data._torch_dataset import from_torch, open_factory
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

_ORIGINALS: dict[str, Callable[[Path, str, str, Sequence[str]], Original]] = {
    ".npz": ArrayOriginal,
    ".safetensors": ArrayOriginal,
    ".csv": CsvOriginal,
    ".jsonl": JsonlOriginal,
    ".parquet": ParquetOriginal,
}


def open_dataset(config: Config, called: str = "Inputs", complete: bool = True) -> LabeledDataset:
    """Open the dataset that the configuration's key `data` names.

    Args:
        config: Settings.
        called: How what the model will be fed is announced.
        complete: Whether every class must have a sample.

    Raises:
        ConfigError: If the key is not set, or another key means nothing for this kind of data.
        DataError: If it cannot be read, or holds samples or labels that cannot be audited.
        MissingExtraError: If a package needed to read it is not installed.
    """
    if not config.data:
        raise ConfigError(setting("data"), "not set", "name the training data")
    path = config.base / config.data
    if not _exists(path) and _is_factory(config.data):
        _refuse_keys(config, "a dataset's factory", "inputs", "labels", "ids")
        dataset = open_factory(config)
        code = config.base / config.data.rpartition(":")[0]
        dataset.file = code if code.suffix == ".py" else None
    elif path.is_dir():
        _refuse_keys(config, "an image folder", "inputs", "labels", "ids", "data_args")
        dataset = open_images(path, config)
        dataset.file = path
    else:
        _refuse_keys(config, "a data file", "data_args")
        dataset = _opener(path)(path, config)
        dataset.file = path
    check_repeatable(dataset)
    return _announced(dataset, called, complete)


def as_dataset(data: Any, config: Config, called: str = "Inputs", complete: bool = True) -> LabeledDataset:
    """Open whatever a Python caller gives as training data.

    Args:
        data: A `LabeledDataset`; a path or factory as in the configuration; or what `from_torch` takes.
        config: Settings; `class_names` also counts for objects in memory.
        called: How what the model will be fed is announced.
        complete: Whether every class must have a sample.

    Raises:
        ConfigError: If a key means nothing for this kind of data.
        DataError: If it cannot be read, or holds samples or labels that cannot be audited.
        MissingExtraError: If a package needed to read it is not installed.
    """
    if isinstance(data, LabeledDataset):
        return _announced(data, called, complete)
    if isinstance(data, str | Path):
        return open_dataset(replace(config, data=str(data)), called, complete)
    _refuse_keys(config, "data in memory", "inputs", "labels", "ids", "data_args", "transform")
    return _announced(from_torch(data, config.class_names, complete=complete), called, complete)


def with_columns(config: Config, data: Any, like: LabeledDataset) -> Config:
    """Let a second table be read by the input columns of a first: by name, whatever their order in its file.

    Args:
        config: Settings; input columns that it names stay.
        data: The second dataset, as `as_dataset` takes it.
        like: The first.
    """
    is_table = isinstance(data, str | Path) and _BY_SUFFIX.get(Path(data).suffix.lower()) is open_table
    if config.inputs or not is_table or not isinstance(like, TableDataset):
        return config
    return replace(config, inputs=like.columns)


def hash_original(path: Path) -> str:
    """Return the fingerprint of a stored dataset, as an audit records it.

    Raises:
        DataError: If it cannot be read, or is of a kind that is not stored as a whole.
    """
    _refuse_unstored(path)
    return hash_images(path, list_images(path)) if path.is_dir() else hash_file(path)


def open_original(path: Path, labels: str, ids: str, class_names: Sequence[str]) -> Original:
    """Open a stored dataset to write a corrected copy of it.

    Args:
        path: A .npz, .safetensors, .csv, .jsonl or .parquet file, or a folder of class folders.
        labels: As the configuration key of that name.
        ids: Likewise.
        class_names: In the order of the model's outputs.

    Raises:
        ConfigError: If `labels` or `ids` is given for an image folder.
        DataError: If it cannot be read, or its ids or labels cannot be those of an audit.
    """
    _refuse_unstored(path)
    if path.is_dir():
        for key, value in (("labels", labels), ("ids", ids)):
            if value:
                raise ConfigError(option_name(key), "means nothing for an image folder", f"leave {key} out")
        return ImageOriginal(path, class_names)
    return _ORIGINALS[path.suffix.lower()](path, labels, ids, class_names)


def _refuse_unstored(path: Path) -> None:
    """Raise an error unless a path leads to a dataset that is stored as a whole."""
    if not _exists(path) and _is_factory(str(path)):
        raise DataError(
            str(path),
            "a dataset that code makes, not a file or folder: no copy of it can be written",
            "list the suspects with cohaudit export AUDIT.JSON --format csv, and use the list in that code",
        )
    if not path.is_dir():
        _opener(path)


def _announced(dataset: LabeledDataset, called: str, complete: bool) -> LabeledDataset:
    """Check the classes, log what the model will be fed, for whoever listens, and return the dataset."""
    if complete:
        check_classes(dataset.labels, dataset.class_names, dataset.source)
    if _log.isEnabledFor(logging.INFO):
        _log.info("%s: %s", called, describe_inputs(dataset))
    return dataset


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that the file system refuses, or a folder that may not be entered
        raise DataError(
            str(path), f"cannot be opened: {error.strerror}", "check the path and the permissions"
        ) from error


def _is_factory(spec: str) -> bool:
    """Tell 'file.py:function' and 'package.module:function' from a path."""
    _, colon, name = spec.rpartition(":")
    return bool(colon) and name.isidentifier()


def _may_be_data(path: Path) -> bool:
    return path.suffix.lower() in _BY_SUFFIX or path.is_dir()


def _opener(path: Path) -> Callable[[Path, Config], LabeledDataset]:
    """Return the function that opens a file of this extension."""
    if not path.exists():
        raise DataError(str(path), *missing(path, _may_be_data, "training data"))
    try:
        return _BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        raise DataError(
            str(path),
            f"the extension {path.suffix!r} is unknown" if path.suffix else "a file without extension",
            f"give {', '.join(_BY_SUFFIX)}, a folder of class folders, or a factory as file.py:function",
        ) from None


def _refuse_keys(config: Config, kind: str, *keys: str) -> None:
    """Raise an error when a key is set that means nothing for this kind of data."""
    for key in keys:
        if getattr(config, key):
            raise ConfigError(
                setting(key) if config.data else key,
                f"is set, but means nothing for {kind} ({config.data or 'given as an object'})",
                f"leave {key} out",
            )
