"""Tables: of a .csv or .jsonl every byte stays but the changed cells and rows; a .parquet is written anew."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.loading.data._ids import row_numbers
from cohaudit.loading.data._jsonl import BOM, is_empty, read_objects, read_text, split_lines, value_span
from cohaudit.loading.data._names import Names
from cohaudit.loading.data._table import ID_COLUMNS, LABEL_COLUMNS, table_ids, table_labels
from cohaudit.loading.data._table_files import CELL, is_blank, read_table, split_rows
from cohaudit.loading.data.originals._original import Original

_CELLS = re.compile(rf"({CELL})(,|\r\n|[\r\n]|\Z)")


class _Table(Original):
    """What tables have in common.

    Args:
        path: The file.
        labels: Name of the label column; empty: found by name.
        ids: Name of the id column; empty: found by name, else row numbers.
        class_names: In the order of the model's outputs.

    Raises:
        DataError: If it cannot be read, or a column is not found.
    """

    def __init__(self, path: Path, labels: str, ids: str, class_names: Sequence[str]) -> None:
        self._path = path
        self._table = read_table(path)
        names = Names(str(path), [str(name) for name in self._table.columns])
        self._label = names.require("labels", labels, LABEL_COLUMNS)
        column = names.find("ids", ids, ID_COLUMNS)
        found = row_numbers(len(self._table)) if column is None else table_ids(self._table, column, str(path))
        written = self._table[self._label]
        given = table_labels(written, class_names, str(path), found)
        super().__init__(str(path), found, given, class_names, written.tolist())

    def _check(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> None:
        """Read a copy back, and make sure that it differs where it should, and only there."""
        expected = self._table.copy()
        expected[self._label] = self._table[self._label].iloc[self._donors(relabeled)].to_numpy()
        expected = expected.iloc[self._kept(dropped)].reset_index(drop=True)
        if len(expected) and not read_table(target).astype(object).equals(expected.astype(object)):
            raise self._refusal()

    def _refusal(self) -> DataError:
        return DataError(
            str(self._path),
            "cannot be edited without changing more than the labels",
            "save the table again with the program that made it, and scan that",
        )


class CsvOriginal(_Table):
    """A .csv file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`: same bytes but for the cells that change and the rows left out."""
        text = self._path.read_bytes().decode("utf-8")
        bom = BOM if text.startswith(BOM) else ""
        rows = split_rows(text.removeprefix(BOM))
        at = [k for k, row in enumerate(rows) if not is_blank(row)][1:]
        if len(at) != len(self._table):
            raise self._refusal()
        column = self._table.columns.tolist().index(self._label)
        cells = self._table[self._label].tolist()
        donors = self._donors(relabeled)
        for position in relabeled:
            rows[at[position]] = _with_cell(rows[at[position]], column, str(cells[donors[position]]))
        for position in dropped:
            rows[at[position]] = ""
        target.write_bytes((bom + "".join(rows)).encode("utf-8"))
        self._check(target, relabeled, dropped)
        return {}


def _with_cell(row: str, column: int, value: str) -> str:
    """Return a row of a .csv with another value in a column, quoted where it was, or where it must be."""
    cell = list(_CELLS.finditer(row))[column]
    if cell[1].startswith('"') or re.search(r'^"|[,\r\n]', value):
        value = '"' + value.replace('"', '""') + '"'
    return row[: cell.start(1)] + value + row[cell.end(1) :]


class JsonlOriginal(_Table):
    """A .jsonl file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`: same bytes but for the labels that change and the lines left out."""
        text = read_text(self._path)
        bom = BOM if text.startswith(BOM) else ""
        lines = split_lines(text.removeprefix(BOM))
        at = [k for k, line in enumerate(lines) if not is_empty(line)]
        rows = read_objects(self._path)
        if not len(at) == len(rows) == len(self._table):
            raise self._refusal()
        new = list(lines)
        donors = self._donors(relabeled)
        for position in relabeled:
            line = lines[at[position]]
            donor = lines[at[donors[position]]]
            (start, end) = value_span(line, self._label)
            value = slice(*value_span(donor, self._label))
            new[at[position]] = line[:start] + donor[value] + line[end:]
        for position in dropped:
            new[at[position]] = ""
        target.write_bytes((bom + "".join(new)).encode("utf-8"))
        # line by line, not as tables: a column can have another type, or be gone, without the lines left out
        expected = [{**rows[k], self._label: rows[donors[k]][self._label]} for k in self._kept(dropped)]
        if read_objects(target) != expected:
            raise self._refusal()
        return {}


class ParquetOriginal(_Table):
    """A .parquet file; see `_Table` for the arguments."""

    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy, see `Original`: same columns, types and metadata."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self._path)
        column = table.schema.get_field_index(self._label)
        labels = table.column(column).take(self._donors(relabeled))
        table = table.set_column(column, table.schema.field(column), labels)
        pyarrow.parquet.write_table(table.take(self._kept(dropped)), target)
        self._check(target, relabeled, dropped)
        return {}
