"""Samples as rows of a table: .csv, .jsonl and .parquet."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_scalar

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._fingerprint import hash_file
from cohaudit.loading.data._ids import as_ids, name_sample, row_numbers
from cohaudit.loading.data._inputs import Inputs
from cohaudit.loading.data._names import Names, setting
from cohaudit.loading.data._preview import text_preview
from cohaudit.loading.data._table_files import first_lines, read_table
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

LABEL_COLUMNS = ("label", "labels", "target", "class", "y")
ID_COLUMNS = ("id", "ids")

MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "null", "NULL", "None"})
"""Cells of a .csv that mean 'no value', as pandas reads them."""


class TableDataset(LabeledDataset):
    """Samples as rows of a table.

    Without a transform every input column must be numeric, and a sample is the float32 vector of its columns,
    in their order; True and False count as 1 and 0. A transform gets one row as a dict: column → number,
    where the whole column is numbers, or text. The fingerprint covers the file's content.

    Args:
        source: Path as given.
        fingerprint: SHA-256 of the file, hex.
        inputs: The input columns, one row a sample.
        labels: [N], see `LabeledDataset`.
        ids: One id a sample.
        class_names: In the order of the model's outputs; may be empty.
        transform: Applied to one row.
        typed: Whether a text is one even where it reads like a number.

    Raises:
        DataError: If a column is not numeric, a value is missing, or the labels cannot be audited.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        inputs: pd.DataFrame,
        labels: npt.NDArray[Any],
        ids: Sequence[str],
        class_names: Sequence[str] = (),
        transform: Transform | None = None,
        typed: bool = False,
    ) -> None:
        super().__init__(source, fingerprint, ids, labels, class_names)
        self._written = inputs
        self._transform = transform
        if transform is None:
            columns = [self._numeric(str(name)) for name in inputs.columns]
            self._values = torch.from_numpy(np.stack(columns, axis=1))
        else:
            self._rows = (inputs if typed else inputs.apply(_typed)).astype(object)

    def _numeric(self, name: str) -> npt.NDArray[np.float32]:
        """Return a column's finite numbers, float32 [N]."""
        column = self._written[name]
        numbers = _as_numbers(column)
        # a number beyond float32's range becomes infinite here and is refused with its row
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            row = int(wrong[0])
            found, remedy = _describe(column.iloc[row], float(numbers[row]))
            raise DataError(f"{self.where(row)}, column {name!r}", found, remedy)
        return values

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the input columns, in the order in which the model gets them."""
        return tuple(str(name) for name in self._written.columns)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the input columns; none with a transform, which may change them."""
        return self.columns if self._transform is None else ()

    @property
    def preparation(self) -> str:
        """What is done to a row, see the class."""
        columns = self.columns
        return in_words(self._transform, f"columns {columns[0]} … {columns[-1]}" if columns[1:] else "")

    def sample(self, index: int) -> Inputs:
        """Return one row's numbers, or what the transform makes of the row.

        Raises:
            DataError: If the transform fails.
        """
        if self._transform is None:
            return self._values[index]
        row = {str(name): value for name, value in self._rows.iloc[index].items()}
        return self._transform(row, self.where(index))

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the table and, where it is text, the line that the row begins in; 0 if that is unknown."""
        return self.file, self._lines[index] if self._lines else 0

    @cached_property
    def _lines(self) -> Sequence[int]:
        """The line that each row begins in, found when first asked for; empty where there are none."""
        lines = [] if self.file is None else first_lines(self.file)
        return lines if len(lines) == len(self) else []

    def preview(self, index: int) -> Preview:
        """Show the row's inputs as written; one column of text is shown as a text."""
        # as objects: a row of several types of numbers would make them all floats
        written = self._written.iloc[[index]].astype(object).iloc[0]
        row = {str(name): str(value) for name, value in written.items()}
        if len(row) == 1 and self._transform is not None:
            return text_preview(next(iter(row.values())))
        return Preview("row", row=row)


def open_table(path: Path, config: Config) -> TableDataset:
    """Open a .csv, .jsonl or .parquet file.

    Raises:
        DataError: If the file cannot be read, a column is not found, or its content cannot be audited.
    """
    table = read_table(path)
    source = str(path)
    columns = [str(name) for name in table.columns]
    names = Names(source, columns)
    label = names.require("labels", config.labels, LABEL_COLUMNS)
    id_column = names.find("ids", config.ids, ID_COLUMNS)
    inputs = [names.require("inputs", name) for name in config.inputs]
    inputs = inputs or [name for name in columns if name not in {label, id_column}]
    if label in inputs or not inputs:
        found = (
            "the label column is among the inputs" if inputs else f"no column besides {label!r} and the ids"
        )
        raise DataError(f"{source}, inputs", found, f"name the feature columns with {setting('inputs')}")
    ids = row_numbers(len(table)) if id_column is None else table_ids(table, id_column, source)
    labels = table_labels(table[label], config.class_names, config.data, ids)
    return TableDataset(
        config.data,
        hash_file(path),
        table[inputs],
        labels,
        ids,
        config.class_names,
        load_transform(config),
        typed=path.suffix.lower() == ".jsonl",
    )


def table_ids(table: pd.DataFrame, column: str, source: str) -> list[str]:
    """Return the ids in a column as written."""
    values = table[column].astype(object).where(table[column].notna(), "").to_numpy()
    return as_ids(values, len(table), f"{source}, column {column!r}")


def table_labels(
    column: pd.Series[Any], class_names: Sequence[str], source: str, ids: Sequence[str]
) -> npt.NDArray[Any]:
    """Return labels as numbers when all of them are, else as text; a class name is never 'missing'.

    Args:
        column: The labels, as written.
        class_names: In the order of the model's outputs; may be empty.
        source: The dataset, for messages.
        ids: One id a sample.

    Raises:
        DataError: If a label is missing.
    """
    if is_bool_dtype(column) and {"true", "false"} <= set(class_names):
        column = column.map({True: "true", False: "false"})
    written = column if is_numeric_dtype(column) else column.astype(str)
    blank = column.isna() | (written.isin(MISSING) & ~written.isin(class_names))
    if blank.any():
        row = int(np.flatnonzero(blank)[0])
        raise DataError(
            f"{name_sample(source, ids, row)}, column {column.name!r}",
            f"the label is missing ({_shown(column.iloc[row])})",
            "label the sample or drop its row; list a class of that name in class_names (--class-names)",
        )
    if is_numeric_dtype(column) or written.isin(class_names).all():
        return written.to_numpy()
    numbers = pd.to_numeric(written, errors="coerce")
    return (written if numbers.isna().any() else numbers).to_numpy()


def _as_numbers(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return a column's numbers, float64 [N]; NaN for what is none."""
    if is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    written = column.astype(str).replace({"True": "1", "true": "1", "False": "0", "false": "0"})
    return pd.to_numeric(written, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _describe(cell: Any, number: float) -> tuple[str, str]:
    """Say what is wrong with a cell that is no finite float32, and what to do about it."""
    if np.isfinite(number):
        return f"{cell} is too large for float32", "rescale the column"
    if np.isinf(number):
        return f"the value is infinite ({cell})", "correct the value or drop the row"
    if _is_missing(cell):
        return (
            f"the value is missing ({_shown(cell)})",
            f"fill it in, drop the row, or leave the column out: name the others with {setting('inputs')}",
        )
    return (
        f"{textwrap.shorten(repr(cell), 60)} is not a number",
        f"list the numeric columns with {setting('inputs')}, or encode the row with {setting('transform')}",
    )


def _is_missing(cell: Any) -> bool:
    return cell in MISSING if isinstance(cell, str) else bool(is_scalar(cell) and pd.isna(cell))


def _shown(cell: Any) -> str:
    return str(cell) or "empty"


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of text as numbers when each cell is a number or missing; any other as it is."""
    if is_numeric_dtype(column):
        return column
    numbers = pd.to_numeric(column.astype(str), errors="coerce")
    numeric = numbers.notna() | column.map(_is_missing)
    return numbers if bool(numeric.all()) and bool(numbers.notna().any()) else column
