"""Corrected copies of tables: unchanged bytes stay in a .csv or .jsonl; a .parquet is written again."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from cohaudit.errors import DataError
from cohaudit.loading.data._delimited import BOM, cell_pattern, dialect_of, is_blank, split_rows
from cohaudit.loading.data._ids import row_numbers
from cohaudit.loading.data._jsonl import is_empty, read_objects, read_text, split_lines, value_span
from cohaudit.loading.data._names import ColumnNames
from cohaudit.loading.data._table import ID_COLUMNS, LABEL_COLUMNS, table_ids, table_labels
from cohaudit.loading.data._table_files import read_table
from cohaudit.loading.data.originals._original import Original, StoredLabels, read_labels


class _Table(Original):
    """A table of any format.

    Args:
        path: The file.
        stored: Ids and labels of the samples.
        table: Content of the file.
        label_column: Name of the label column.
    """

    def __init__(self, path: Path, stored: StoredLabels, table: pd.DataFrame, label_column: str) -> None:
        super().__init__(stored)
        self._path = path
        self._table = table
        self._label_column = label_column

    @classmethod
    def open(cls, path: Path, labels: str, ids: str, class_names: Sequence[str]) -> Self:
        """Open a file.

        Args:
            path: The file.
            labels: Name of the label column; empty to find it by a usual name.
            ids: Name of the id column; empty to find it by a usual name, else to use row numbers.
            class_names: Class names in the order of the model's outputs.

        Raises:
            DataError: If the file cannot be read, or a column is not found.
        """
        table = read_table(path)
        source = str(path)
        names = ColumnNames(source, [str(name) for name in table.columns])
        label_column = names.require("labels", labels, LABEL_COLUMNS)
        id_column = names.find("ids", ids, ID_COLUMNS)
        sample_ids = row_numbers(len(table)) if id_column is None else table_ids(table, id_column, source)
        cells = table[label_column]
        values = table_labels(cells, class_names, source, sample_ids)
        stored = read_labels(source, sample_ids, values, class_names, cells.tolist())
        return cls(path, stored, table, label_column)

    def _check(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> None:
        """Read a copy back and compare it with the intended content: a copy must never lose data silently."""
        expected = self._table.copy()
        column = self._label_column
        expected[column] = self._table[column].iloc[self._donors(relabeled)].to_numpy()
        expected = expected.iloc[self._remaining(dropped)].reset_index(drop=True)
        # without rows there are no types to compare
        if len(expected) and not read_table(target).astype(object).equals(expected.astype(object)):
            raise self._refusal()

    def _refusal(self) -> DataError:
        """Return the error for a table whose copy would lose or change something."""
        return DataError(
            str(self._path),
            "cannot be edited without changing more than the labels",
            "save the table again with the program that made it, and scan the new file",
        )


class CsvOriginal(_Table):
    """A .csv file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`. All bytes stay, except changed cells and dropped rows."""
        dialect = dialect_of(self._path)
        separator = dialect.separator
        # bytes, not read_text: that would change the line ends
        before, text = dialect.decoded(self._path.read_bytes())
        rows = split_rows(text, separator)
        row_of = [k for k, row in enumerate(rows) if not is_blank(row, separator)][1:]  # without the header
        if len(row_of) != len(self._table):
            raise self._refusal()
        column = self._table.columns.tolist().index(self._label_column)
        cells = self._table[self._label_column].tolist()
        donors = self._donors(relabeled)
        for position in relabeled:
            row = row_of[position]
            rows[row] = _with_cell(rows[row], column, str(cells[donors[position]]), separator)
        for position in dropped:
            rows[row_of[position]] = ""
        target.write_bytes((before + "".join(rows)).encode(dialect.encoding))
        self._check(target, relabeled, dropped)
        return {}


def _with_cell(row: str, column: int, value: str, separator: str) -> str:
    """Return a row of a .csv with a new value in a column, in quotes if the old one was or if needed."""
    # a plain split at separators would break quoted cells
    end = re.escape(separator)
    cell = list(re.finditer(rf"({cell_pattern(separator)})({end}|\r\n|[\r\n]|\Z)", row))[column]
    if cell[1].startswith('"') or re.search(rf'^"|[{end}\r\n]', value):
        value = '"' + value.replace('"', '""') + '"'
    return row[: cell.start(1)] + value + row[cell.end(1) :]


class JsonlOriginal(_Table):
    """A .jsonl file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`. All bytes stay, except changed labels and dropped lines."""
        text = read_text(self._path)
        bom = BOM if text.startswith(BOM) else ""
        lines = split_lines(text.removeprefix(BOM))
        line_of = [k for k, line in enumerate(lines) if not is_empty(line)]
        rows = read_objects(self._path)
        if not len(line_of) == len(rows) == len(self._table):
            raise self._refusal()
        new = list(lines)
        donors = self._donors(relabeled)
        for position in relabeled:
            line = lines[line_of[position]]
            donor = lines[line_of[donors[position]]]
            start, end = value_span(line, self._label_column)
            value = slice(*value_span(donor, self._label_column))
            new[line_of[position]] = line[:start] + donor[value] + line[end:]
        for position in dropped:
            new[line_of[position]] = ""
        target.write_bytes((bom + "".join(new)).encode("utf-8"))
        # line by line, not as tables: without the dropped lines a column can have another type or be gone
        key = self._label_column
        expected = [{**rows[k], key: rows[donors[k]][key]} for k in self._remaining(dropped)]
        if read_objects(target) != expected:
            raise self._refusal()
        return {}


def _parquet_form(path: Path) -> tuple[dict[str, str] | str, int | None]:
    """Return how a .parquet file is stored: column → codec, and rows of a group; defaults if it is empty."""
    import pyarrow.parquet

    stored = pyarrow.parquet.ParquetFile(path).metadata
    if not stored.num_row_groups:
        return "snappy", None
    group = stored.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    # the writer takes `none`, and one name for the two forms of lz4
    names = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}
    codecs = {one.path_in_schema: names.get(one.compression, one.compression.lower()) for one in columns}
    return codecs, max(1, group.num_rows)


class ParquetOriginal(_Table):
    """A .parquet file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`, with the same columns, types, metadata and compression."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self._path)
        column = table.schema.get_field_index(self._label_column)
        labels = table.column(column).take(self._donors(relabeled))
        table = table.set_column(column, table.schema.field(column), labels)
        codecs, rows = _parquet_form(self._path)
        pyarrow.parquet.write_table(
            table.take(self._remaining(dropped)), target, compression=codecs, row_group_size=rows
        )
        self._check(target, relabeled, dropped)
        return {}
