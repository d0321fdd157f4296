"""Datasets whose samples are the rows of a table: .csv, .jsonl and .parquet."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from cohaudit.loading.data._labels import SampleLabels, label_samples
from cohaudit.loading.data._names import ColumnNames, setting
from cohaudit.loading.data._preview import object_preview, text_preview
from cohaudit.loading.data._table_files import first_lines, read_table
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.results import Preview

LABEL_COLUMNS = ("label", "labels", "target", "class", "y")
"""Usual names of the label column, in lower case."""
ID_COLUMNS = ("id", "ids")
"""Usual names of the column of sample ids."""

_CELLS_AT_ONCE = 1_000_000
"""Cells of text that are converted to numbers together: 100 MB."""
_SPELLED = {"True": "1", "true": "1", "False": "0", "false": "0"}
"""The spellings of pandas and of JSON → numbers."""
MISSING_CELLS = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "null", "NULL", "None"})
"""Cells of a .csv that pandas reads as missing values."""
_MAX_CELL_LENGTH = 60
"""Characters of a cell to show in a message."""


@dataclass(frozen=True)
class _NumericRows:
    """Rows of numbers, which go into the model as they are."""

    values: torch.Tensor
    """One row for each sample, float32 [N, columns]."""
    columns: Sequence[str]
    """Names of the columns."""
    transform: None = None

    def cells(self, index: int) -> dict[str, Any]:
        return dict(zip(self.columns, self.values[index].tolist(), strict=True))

    def sample(self, index: int, where: str) -> Inputs:
        return self.values[index]


@dataclass(frozen=True)
class _TransformedRows:
    """Rows that a transform turns into inputs."""

    table: pd.DataFrame
    """Rows with numbers and texts as objects."""
    transform: Transform

    def sample(self, index: int, where: str) -> Inputs:
        return self.transform(self.cells(index), where)

    def cells(self, index: int) -> dict[str, Any]:
        return {str(name): value for name, value in self.table.iloc[index].items()}


class TableDataset(LabeledDataset):
    """Samples as rows of a table.

    Without a transform every input column must be numeric, and a sample is the float32 vector of its columns
    in their order; True and False count as 1 and 0. A transform gets one row as a dict: column → number if
    the whole column is numeric, else text. The fingerprint covers the file's content.

    Args:
        source: Path as the user gave it.
        fingerprint: SHA-256 of the file, in hex.
        samples: Ids and labels of the samples.
        inputs: Input columns as in the file, one row for each sample.
        rows: The same rows, as `sample` reads them.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        samples: SampleLabels,
        inputs: pd.DataFrame,
        rows: _NumericRows | _TransformedRows,
    ) -> None:
        super().__init__(source, fingerprint, samples)
        self._inputs = inputs
        self._rows = rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the input columns, in the order in which the model gets them."""
        return tuple(str(name) for name in self._inputs.columns)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the input columns; empty with a transform, which may change the columns."""
        return self.columns if self._rows.transform is None else ()

    @property
    def preparation(self) -> str:
        """Preparation of a row, in words; see the class."""
        columns = self.columns
        return in_words(self._rows.transform, f"columns {columns[0]} … {columns[-1]}" if columns[1:] else "")

    def sample(self, index: int) -> Inputs:
        """Return one row's numbers, or the transform's result for the row.

        Raises:
            DataError: If the transform fails.
        """
        return self._rows.sample(index, self.where(index))

    def raw(self, index: int) -> dict[str, Any]:
        """Return one row: column → number if the whole column is numeric, else text."""
        return self._rows.cells(index)

    def place(self, index: int) -> tuple[Path | None, int]:
        """Return the table, and the line of a text file where the row begins; 0 if the line is unknown."""
        return self.file, self._lines[index] if self._lines else 0

    @cached_property
    def _lines(self) -> Sequence[int]:
        """Line where each row begins, [N]; empty if the file has no lines, or has changed since."""
        lines = [] if self.file is None else first_lines(self.file)
        return lines if len(lines) == len(self) else []

    def preview(self, index: int) -> Preview:
        """Return the row's inputs as in the file; a single column of text is shown as a text."""
        # as objects: a row with several types of numbers would turn all of them into floats
        cells = self._inputs.iloc[[index]].astype(object).iloc[0]
        row = {str(name): str(value) for name, value in cells.items()}
        if len(row) == 1 and self._rows.transform is not None:
            cell = cells.iloc[0]
            # a table in memory can hold pictures and arrays
            drawn = object_preview(cell) if not is_scalar(cell) else Preview("none")
            return drawn if drawn.kind != "none" else text_preview(next(iter(row.values())))
        return Preview("row", row=row)


def open_table(path: Path, config: Config) -> TableDataset:
    """Open a .csv, .jsonl or .parquet file.

    Raises:
        DataError: If the file cannot be read, a column is not found, or its content cannot be audited.
        MissingExtraError: If pyarrow is needed and not installed.
    """
    # the table is read once, with all columns: the names decide which are used
    table = read_table(path)
    # the texts of a .jsonl are texts even if they read like numbers: JSON has a type for numbers
    has_types = path.suffix.lower() == ".jsonl"
    dataset = make_table_dataset(table, config, config.data, file=str(path), has_types=has_types)
    dataset.fingerprint = hash_file(path)
    return dataset


def make_table_dataset(
    table: pd.DataFrame,
    config: Config,
    name: str,
    *,
    file: str = "",
    has_types: bool = True,
    ids: Callable[[], list[str]] | None = None,
    container: str = "the file",
) -> TableDataset:
    """Return a dataset of a table's rows, without a fingerprint.

    Args:
        table: One row for each sample, with all columns; its index counts from 0.
        config: Settings: `inputs`, `labels`, `ids`, `class_names` and `transform`.
        name: The dataset, in messages and in the report.
        file: Its file, for messages about columns; the same as `name` if left out.
        has_types: Whether a text is a text even if it reads like a number.
        ids: Returns the ids of a table without a column of ids; row numbers if left out.
        container: What has the columns, for messages.

    Raises:
        DataError: If a column is not found, or the content cannot be audited.
    """
    source = file or name
    columns = [str(column) for column in table.columns]
    names = ColumnNames(source, columns, container=container)
    label = names.require("labels", config.labels, LABEL_COLUMNS)
    id_column = names.find("ids", config.ids, ID_COLUMNS)
    inputs = [names.require("inputs", name) for name in config.inputs]
    inputs = inputs or [name for name in columns if name not in {label, id_column}]
    if label in inputs or not inputs:
        found = (
            f"the label column {label!r} is among them" if inputs else f"no column is left besides {label!r}"
        )
        raise DataError(f"{source}, inputs", found, f"name the feature columns with {setting('inputs')}")
    if id_column is not None:
        sample_ids = table_ids(table, id_column, source)
    else:
        sample_ids = ids() if ids else row_numbers(len(table))
    class_names = config.class_names or _categories(table[label])
    labels = table_labels(table[label], class_names, name, sample_ids)
    transform = load_transform(config)
    samples = label_samples(sample_ids, labels, class_names, name)
    rows = _rows(table[inputs], transform, name, sample_ids, has_types=has_types)
    return TableDataset(name, "", samples, table[inputs], rows)


def _categories(column: pd.Series[Any]) -> tuple[str, ...]:
    """Return the categories of a categorical column of texts that occur in it, in their order; else none."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return ()
    used = column.cat.remove_unused_categories().cat.categories
    # numbers are class numbers, in whatever order they are listed
    return tuple(used) if all(isinstance(one, str) for one in used) else ()


def _rows(
    inputs: pd.DataFrame, transform: Transform | None, source: str, ids: Sequence[str], *, has_types: bool
) -> _NumericRows | _TransformedRows:
    """Return the rows of a table as a model or a transform takes them."""
    if transform is not None:
        return _TransformedRows((inputs if has_types else inputs.apply(_typed)).astype(object), transform)
    values = _finite(inputs, source, ids)
    return _NumericRows(torch.from_numpy(values), list(map(str, inputs.columns)))


def _finite(inputs: pd.DataFrame, source: str, ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the numbers of a table, all finite, float32 [N, columns]."""
    values = np.empty(inputs.shape, dtype=np.float32)
    # some columns at a time: each call takes a while, and each cell takes memory as text
    step = max(1, _CELLS_AT_ONCE // max(len(inputs), 1))
    for start in range(0, inputs.shape[1], step):
        part = inputs.iloc[:, start : start + step]
        numbers = _as_numbers(part)
        # a number beyond float32's range becomes infinite here and is refused with its row
        with np.errstate(over="ignore"):
            found = values[:, start : start + step] = numbers.astype(np.float32)
        if not np.isfinite(found).all():
            column = int(np.flatnonzero(~np.isfinite(found).all(axis=0))[0])
            row = int(np.flatnonzero(~np.isfinite(found[:, column]))[0])
            problem, remedy = _describe(part.iloc[row, column], float(numbers[row, column]))
            where = f"{name_sample(source, ids, row)}, column {str(part.columns[column])!r}"
            raise DataError(where, problem, remedy)
    return values


def table_ids(table: pd.DataFrame, column: str, source: str) -> list[str]:
    """Return the ids in a column as text, '' for a missing one.

    Args:
        table: The table.
        column: Name of the column.
        source: The file, for messages.

    Raises:
        DataError: If the column is not a list of ids.
    """
    values = table[column].astype(object).where(table[column].notna(), "").to_numpy()
    return as_ids(values, len(table), f"{source}, column {column!r}")


def table_labels(
    column: pd.Series[Any], class_names: Sequence[str], source: str, ids: Sequence[str]
) -> npt.NDArray[Any]:
    """Return labels as numbers if all are numbers, else as text. A class name never counts as missing.

    Args:
        column: Labels as in the file.
        class_names: Class names in the order of the model's outputs; may be empty.
        source: The dataset, for messages.
        ids: Id of each sample, [N].

    Returns:
        One label for each sample, [N].

    Raises:
        DataError: If a label is missing.
    """
    # pandas writes True, but JSON and class_names say true
    if is_bool_dtype(column) and {"true", "false"} <= set(class_names):
        column = column.map({True: "true", False: "false"})
    written = column if is_numeric_dtype(column) else column.astype(str)
    blank = column.isna() | (written.isin(MISSING_CELLS) & ~written.isin(class_names))
    if blank.any():
        row = int(np.flatnonzero(blank)[0])
        raise DataError(
            f"{name_sample(source, ids, row)}, column {column.name!r}",
            f"the label is missing ({_shown(column.iloc[row])})",
            "label the sample, or drop its row; if a class has this name, list it in class_names"
            " (--class-names)",
        )
    if is_numeric_dtype(column) or written.isin(class_names).all():
        return written.to_numpy()
    # one label that is not a number makes all of them names: "1" and "1a" are two names
    numbers = pd.to_numeric(written, errors="coerce")
    return (written if numbers.isna().any() else numbers).to_numpy()


def _as_numbers(inputs: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the numbers of some columns, float64 [N, columns], with NaN for cells that are not numbers."""
    numeric = [is_numeric_dtype(dtype) for dtype in inputs.dtypes]
    if all(numeric):
        return inputs.to_numpy(dtype=np.float64, na_value=np.nan)
    if any(numeric):
        return np.concatenate([_as_numbers(inputs.iloc[:, [c]]) for c in range(len(numeric))], axis=1)
    # all cells as one column: pandas takes a millisecond for each
    written = [_SPELLED.get(cell, cell) for cell in map(str, inputs.to_numpy(dtype=object).ravel())]
    numbers = pd.to_numeric(pd.Series(written, dtype=object), errors="coerce")
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan).reshape(inputs.shape)


def _describe(cell: Any, number: float) -> tuple[str, str]:
    """Return what is wrong with a cell that is not a finite float32, and what to do about it."""
    if np.isfinite(number):
        return f"{cell} is too large for float32", "rescale the column"
    if np.isinf(number):
        return f"the value is infinite ({cell})", "correct the value or drop the row"
    if _is_missing(cell):
        return (
            f"the value is missing ({_shown(cell)})",
            f"fill it in, drop the row, or name only the other columns with {setting('inputs')}",
        )
    return (
        f"{textwrap.shorten(repr(cell), _MAX_CELL_LENGTH)} is not a number",
        f"name the numeric columns with {setting('inputs')}, or encode each row with {setting('transform')}",
    )


def _is_missing(cell: Any) -> bool:
    return cell in MISSING_CELLS if isinstance(cell, str) else bool(is_scalar(cell) and pd.isna(cell))


def _shown(cell: Any) -> str:
    return str(cell) or "empty"


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of text as numbers if each cell is a number or missing; else return it unchanged."""
    if is_numeric_dtype(column):
        return column
    numbers = pd.to_numeric(column.astype(str), errors="coerce")
    numeric = numbers.notna() | column.map(_is_missing)
    return numbers if bool(numeric.all()) and bool(numbers.notna().any()) else column
