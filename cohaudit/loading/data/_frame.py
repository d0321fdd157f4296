"""A DataFrame in memory: its rows are the samples, and its own index names them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._ids import text
from cohaudit.loading.data._inputs import content, stack
from cohaudit.loading.data._preview import as_numpy
from cohaudit.loading.data._table import TableDataset, make_table_dataset

_LABELS = "the labels given"
"""Name of the column that holds labels which were given beside the inputs."""


def open_frame(frame: pd.DataFrame, labels: Any, config: Config, source: str) -> TableDataset:
    """Return a dataset of a DataFrame, by the rules of tables in files.

    Ids are those of the key `ids`, or of a column of a usual name, else the frame's own index as text. The
    frame is copied: a later change does not reach the dataset. Classes of a categorical column are in the
    order of its categories.

    Args:
        frame: A row for each sample.
        labels: Labels beside the frame, one for each row; None if a column holds them.
        config: Settings: `inputs`, `labels`, `ids`, `class_names` and `transform`.
        source: Name of the dataset in messages and in the report.

    Raises:
        DataError: If a column is not found, the index names a row twice, indexes differ, or the content
            cannot be audited.
    """
    common_index(frame, labels, source)  # refuses labels in another order
    # a new index: the rows are found by position; deep, because a cell can be changed in place
    table = (
        frame.set_axis([str(name) for name in frame.columns], axis="columns").reset_index(drop=True).copy()
    )
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise DataError(
            source, f"has two columns {twice[0]!r}", "give every column a name of its own, as text"
        )
    if labels is not None:
        table[_LABELS] = _label_column(labels, len(table), source)
        config = replace(config, labels=_LABELS)
    dataset = make_table_dataset(
        table, config, source, ids=lambda: index_ids(frame.index, source), container="the DataFrame"
    )
    dataset.fingerprint = _fingerprint(dataset)
    dataset.index = frame.index
    return dataset


def common_index(inputs: Any, labels: Any, source: str) -> pd.Index[Any] | None:
    """Return the index of inputs and labels; None if neither has one.

    Args:
        inputs: Inputs of the samples.
        labels: Their labels; None if the inputs hold them.
        source: Name of the dataset, for messages.

    Raises:
        DataError: If both have one, and these differ: it is not clear which label belongs to which input.
    """
    indexes = [part.index for part in (inputs, labels) if isinstance(part, pd.DataFrame | pd.Series)]
    if len(indexes) == 2 and not indexes[0].equals(indexes[1]):
        raise DataError(
            f"{source}, labels",
            "their index differs from that of the inputs",
            "align them: labels.loc[inputs.index]; or, if they are in one order, give labels.to_numpy()",
        )
    return indexes[0] if indexes else None


def index_ids(index: pd.Index[Any], source: str) -> list[str]:
    """Return the entries of an index as text.

    Raises:
        DataError: If an entry occurs twice.
    """
    if not index.is_unique:
        raise DataError(
            source,
            f"its index has {index[index.duplicated()].tolist()[0]!r:.80} twice",
            "name a column of unique ids with ids=…, or renumber the rows: frame.reset_index(drop=True)",
        )
    return [text(name) for name in index.tolist()]


def _label_column(labels: Any, rows: int, source: str) -> Any:
    """Return labels that were given beside a frame, as a column by position."""
    values = labels.reset_index(drop=True) if isinstance(labels, pd.Series) else as_numpy(labels)
    if not isinstance(values, pd.Series) and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or len(values) != rows:
        raise DataError(
            f"{source}, labels",
            f"the shape is {list(np.shape(labels))}, but there are {rows} samples",
            "give one label for each row; for one-hot labels, labels.argmax(axis=1)",
        )
    return values


def _fingerprint(dataset: LabeledDataset) -> str:
    """Return the SHA-256 of every input, as the model gets it, and every label; NaN is refused on the way."""
    digest = hashlib.sha256(repr(dataset.column_names).encode())
    for index, label in enumerate(dataset.labels.tolist()):
        inputs = dataset.sample(index)
        stack([inputs], [dataset.where(index)])  # raises for NaN
        digest.update(content(inputs) + dataset.class_names[label].encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
