"""What the types of the results look like in JSON, and what no audit can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

import pandas as pd
import pytest

from cohaudit.results import Audit, Estimate, Skipped
from cohaudit.results.ranges import Pattern, Proportion, Range
from cohaudit.results.sample_table import SampleRow, SampleTable, as_sample_table
from cohaudit.results.shape import (
    AnyValue,
    ArrayOf,
    Choice,
    ColumnTable,
    Nullable,
    ObjectOf,
    Record,
    Scalar,
    Skippable,
    columns_of,
    shape_of,
)


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (str, Scalar(str)),
        (bool, Scalar(bool)),
        (Proportion, Scalar(float, range=Range(0, 1))),
        (Annotated[str, Pattern("^a")], Scalar(str, pattern=Pattern("^a"))),
        (Proportion | None, Nullable(Scalar(float, range=Range(0, 1)))),
        (Literal["a", "b"], Choice(("a", "b"))),
        (tuple[tuple[float, ...], ...], ArrayOf(ArrayOf(Scalar(float)))),
        (Mapping[str, int], ObjectOf(Scalar(int))),
        (Mapping[str, object], ObjectOf(AnyValue())),
        (Estimate | Skipped, Skippable(Record(Estimate))),
        (float | Skipped, Skippable(Scalar(float))),
        (SampleTable, ColumnTable(SampleRow)),
    ],
)
def test_a_type_has_a_shape(annotation: Any, shape: object) -> None:
    assert shape_of(annotation) == shape


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        tuple[int, int],
        dict[str, int],
        Mapping[int, str],
        str | int,
        Estimate | None,
        Estimate | Skipped | None,
        bytes,
        pd.DataFrame,
        Annotated[float, "a comment"],
        complex,
    ],
)
def test_a_type_that_json_cannot_give_back_is_a_bug(annotation: Any) -> None:
    with pytest.raises(TypeError, match="an audit cannot hold"):
        shape_of(annotation)


def test_a_column_holds_scalars() -> None:
    @dataclass(frozen=True)
    class Row:
        estimate: Estimate

    Row.__annotations__["estimate"] = Estimate
    with pytest.raises(TypeError, match="a column cannot hold"):
        columns_of(Row)


def test_every_field_of_an_audit_has_a_shape() -> None:
    assert is_dataclass(Audit)
    assert list(Record(Audit).fields) == [field.name for field in fields(Audit)]


def test_a_table_of_samples_has_the_types_of_its_row() -> None:
    columns = {name: [] for name in columns_of(SampleRow)}
    empty = as_sample_table(columns)
    assert {str(empty[name].dtype) for name in ("suspicion", "loss", "margin")} == {"float64"}
    assert (str(empty["suspect"].dtype), str(empty["support_count"].dtype)) == ("bool", "Int64")
