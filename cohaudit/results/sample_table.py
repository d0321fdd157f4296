"""The table of samples: its columns with their types, and the order in which suspects are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cohaudit.results.kinds import KindName
from cohaudit.results.ranges import Count, NonNegative, Proportion
from cohaudit.results.shape import Cell, Nullable, TableOf, columns_of

PANDAS_TYPES: Mapping[type, str] = {str: "str", float: "float64", int: "int64", bool: "bool"}
"""Type of a value → dtype of its column."""


@dataclass(frozen=True)
class SampleRow:
    """One row of the table of samples: each field is a column. A number that was not measured is NaN."""

    id: str
    """What a person finds the sample by: path, row number, or key."""
    label: str
    """Label as given."""
    predicted: str
    """Label that the model predicts."""
    suggested: str
    """Likeliest true label: the given label where no other one is likelier; empty when not measured."""
    suggestion: Proportion | None
    """Probability that the suggested label is right, in [0, 1]; missing when not measured. A suspect is worth
    changing without a look if it is above 1 - `suspicion`."""
    suspicion: Proportion | None
    """Probability that the label is wrong, in [0, 1]; a guess where wrong labels cannot be told; missing when
    not measured."""
    rank: Count
    """Place in the order of suspicion, 1 for the most suspicious, no two equal; 0 when not measured."""
    suspect: bool
    """True when wrong labels can be told, the suspicion reaches the setting `suspicion_threshold`, and no
    suppression applies."""
    kind: KindName
    """Kind of the sample: typical, mislabeled, ambiguous, rare, or duplicate; reviewed for a suppressed
    suspect; empty when no sample was judged."""
    certainty: Proportion | None
    """Probability that the sample is of its kind, in [0, 1]; missing when no sample was judged."""
    duplicate_of: str
    """Id of a sample that is nearly the same in every layer; empty without one."""
    memorization: Proportion | None
    """How much of the label's prediction comes from the sample itself, in [0, 1]; missing when not
    measured."""
    loss: NonNegative | None
    """Loss, in nats."""
    margin: float | None
    """Logit of the given label minus the largest other logit."""
    gradient_norm: NonNegative | None
    """Norm of the gradient of the loss with respect to all measured parameters."""
    support: float | None
    """Neighborhood support: mean signed cosine to the gradient neighbors, in [-1, 1]; missing when not
    measured."""
    support_count: Count | None
    """Number of other samples whose loss a step on this sample lowers; missing when not measured."""
    loo_margin: float | None
    """Leave-one-out margin: probability of the given label by the rest of the data minus the largest one of
    another label, in [-1, 1]; missing when not measured."""
    out_of_fold: Proportion | None
    """Probability that the copy of the network that was not trained on the sample gives its label, in [0, 1];
    missing without the setting `crossfit`."""
    supporters: str
    """Ids of the samples with the largest positive cosine, strongest first, at most 3, joined by ';'."""
    opponents: str
    """Ids of the samples with the most negative cosine, strongest first, at most 3, joined by ';'."""
    content: str
    """Hash of the input as the model gets it: the first 16 hexadecimal digits of its SHA-256. Equal for equal
    inputs; files of reviewed labels name samples by it."""


SAMPLE_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(SampleRow))
"""Columns of the table of samples, in order; see docs/measures.md for each one's definition."""

SampleTable = Annotated[pd.DataFrame, TableOf(SampleRow)]
"""A DataFrame with the columns of `SampleRow`, one row per sample."""

COPY_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3
"""Whether pandas copies a shared column before it is changed, so that a copy of a table costs nothing until
then."""


class CopiedTable:
    """Keeps a table of an object and gives out copies: whoever changes one changes no other reader's.

    Args:
        name: Name of the attribute.

    Raises:
        AttributeError: The attribute is asked of the class.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:  # the class itself has no table, as it has no other field without a default
            raise AttributeError(self._name)
        return _copy(owner.__dict__[self._name])

    def __set__(self, owner: Any, table: pd.DataFrame) -> None:
        owner.__dict__[self._name] = _copy(table)


def _copy(table: pd.DataFrame) -> pd.DataFrame:
    return table.copy(deep=not COPY_ON_WRITE)


def as_sample_table(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> pd.DataFrame:
    """Return a table of samples.

    Args:
        columns: Column name → its values, one per sample, for each of `SAMPLE_COLUMNS`; None or NaN for a
            number that was not measured.

    Returns:
        The table, with the columns in order and with the types of `SampleRow`.
    """
    # explicit types: pandas would read a column without a number as objects, and an empty one as floats
    types = {name: _pandas_type(column) for name, column in columns_of(SampleRow).items()}
    series = {name: pd.Series(columns[name], dtype=types[name]) for name in SAMPLE_COLUMNS}
    return pd.DataFrame(series)


def _pandas_type(column: Cell) -> str:
    # NaN would make floats of whole numbers
    if isinstance(column, Nullable) and column.scalar_type is int:
        return "Int64"
    return PANDAS_TYPES[column.scalar_type]


def order_by_suspicion(suspicion: ArrayLike, *tie_breakers: ArrayLike) -> NDArray[np.int64]:
    """Return the positions of samples, most suspicious first: the one rule for every list of suspects.

    Many samples can share one suspicion, because probabilities of wrong labels have bounds.

    Args:
        suspicion: Probability that each label is wrong, [samples]; NaN comes last.
        *tie_breakers: Keys that order equal suspicions, ascending, the first key before the next one,
            [samples] each. Samples that are equal in all of them keep their order.

    Returns:
        Positions, [samples].
    """
    # NaN stays NaN when it is negated below, and lexsort puts it last
    keys = [np.asarray(key, dtype=np.float64) for key in tie_breakers]
    # lexsort sorts by its last key first
    return np.lexsort((*reversed(keys), -np.asarray(suspicion, dtype=np.float64)))
