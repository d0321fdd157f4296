"""Turns labels of any kind into class numbers 0..C-1 and C class names; errors name the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cohaudit.errors import DataError, did_you_mean
from cohaudit.loading.data._ids import check_ids, name_sample, text

_MAX_NAMES_SHOWN = 5
"""Class names to list in a message."""


@dataclass(frozen=True, eq=False)
class SampleLabels:
    """The checked ids and labels of a dataset's samples."""

    ids: list[str]
    """Unique id of each sample, [N]."""
    labels: npt.NDArray[np.int64]
    """Class number of each sample, 0..C-1, [N]."""
    class_names: list[str]
    """Class names in the order of the model's outputs, [C]."""


def label_samples(
    ids: Sequence[str], values: npt.ArrayLike, class_names: Sequence[str], source: str
) -> SampleLabels:
    """Check the ids and labels of a dataset. A class without a sample is allowed, as in a holdout.

    Args:
        ids: One id for each sample, [N].
        values: One label for each sample, as `encode_labels` takes them.
        class_names: Class names in the order of the model's outputs; empty to take them from the labels.
        source: The dataset, for messages.

    Raises:
        DataError: If ids repeat, ids and labels differ in number, or labels cannot be audited.
    """
    names = check_ids(ids, source)
    labels, classes = encode_labels(values, class_names, source, names, complete=False)
    return SampleLabels(names, labels, classes)


def encode_labels(
    values: npt.ArrayLike,
    class_names: Sequence[str],
    source: str,
    ids: Sequence[str],
    *,
    complete: bool = True,
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Turn labels into class numbers.

    If all labels are class names, each becomes the position of its name. Other labels must be integers: the
    positions themselves. Without class names, these are the sorted labels if they are text, else '0'..'C-1'.

    Args:
        values: Labels, [N] or [N, 1]: integers, floats or booleans with integral values, or text.
        class_names: Class names in the order of the model's outputs; may be empty.
        source: The dataset, for messages.
        ids: Id of each sample, [N].
        complete: Whether every class must have a sample.

    Returns:
        The class numbers, int64 [N], and the class names, [C].

    Raises:
        DataError: If there is no sample; a label is missing, unknown, out of range or not an integer; a class
            is empty; there are fewer than two classes; or labels and samples differ in number.
    """
    given = _one_per_sample(np.asarray(values), source, len(ids))
    names = _unique_names(class_names, source)
    seen, codes = _distinct(given)
    # names first: a class may be called "1", and is then not number 1
    if names and all(text(value) in names for value in seen):
        lookup = {name: number for number, name in enumerate(names)}
        labels = np.array([lookup[text(value)] for value in seen], dtype=np.int64)[codes]
    elif given.dtype.kind in "SUO":
        labels, names = _by_name(seen, codes, names, source, ids)
    else:
        labels = _by_number(given, names, source, ids)
        names = names or _numbered(labels, source)
    if complete:
        check_classes(labels, names, source)
    return labels, names


def _one_per_sample(given: npt.NDArray[Any], source: str, samples: int) -> npt.NDArray[Any]:
    """Return the labels as [N], or raise an error if there is not one for each sample."""
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 2:
        raise DataError(
            f"{source}, labels",
            f"the shape {list(given.shape)} looks like one-hot or soft labels, with a column for each class",
            "give one class number for each sample: labels.argmax(axis=1)",
        )
    if given.ndim != 1:
        raise DataError(
            f"{source}, labels",
            f"the shape is {list(given.shape)}, not [N]",
            "give one label for each sample",
        )
    if len(given) != samples:
        raise DataError(
            source,
            f"has {samples} samples, but {len(given)} labels",
            "give one label for each sample, in the same order",
        )
    if samples == 0:
        raise DataError(source, "the dataset has no samples", "check that it is the training data")
    return given


def _distinct(given: npt.NDArray[Any]) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Return the distinct labels, sorted, and the position of each sample's label in them, [N]."""
    # as text: values of several types cannot be sorted
    if given.dtype.kind == "O":
        given = np.array([text(value) for value in given])
    seen, codes = np.unique(given, return_inverse=True)
    return seen.tolist(), codes


def _unique_names(class_names: Sequence[str], source: str) -> list[str]:
    """Return the class names as a list, or raise an error if a name occurs twice."""
    names = list(class_names)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{source}, class_names", f"{twice!r} occurs twice", "give every class its own name")
    return names


def _by_name(
    seen: list[Any], codes: npt.NDArray[np.intp], names: list[str], source: str, ids: Sequence[str]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Encode text labels without class names; with class names, raise the error for the unknown label."""
    if not names:
        return codes.astype(np.int64), [text(value) for value in seen]
    known = np.array([text(value) in names for value in seen])
    index = int(np.flatnonzero(~known[codes])[0])
    label = text(seen[codes[index]])
    hint = did_you_mean(label, names)
    raise DataError(
        name_sample(source, ids, index),
        f"the label {label!r} is not among class_names ({_some(names)})",
        f"{hint if hint.endswith('?') else f'{hint}.'} If the model has that class, add it to class_names"
        " (--class-names).",
    )


def _by_number(
    given: npt.NDArray[Any], names: list[str], source: str, ids: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Encode numeric labels: class numbers from 0."""
    if given.dtype.kind not in "biuf":
        raise DataError(f"{source}, labels", f"the type is {given.dtype}", "give integers or class names")
    # C classes need C samples, so a number beyond the samples cannot be a class: it is refused before an
    # array of that size is made
    missing = np.flatnonzero(np.isnan(given))
    if missing.size:
        where = name_sample(source, ids, int(missing[0]))
        raise DataError(where, "the label is missing (NaN)", "label the sample, or drop it")
    limit = len(names) or len(given)
    excess = f"class_names has {len(names)} names" if names else f"there are only {len(given)} samples"
    for problem, wrong in (
        ("is not an integer, so it is not a class number", given != np.floor(given)),
        ("is negative", given < 0),
        (f"is out of range: {excess}, and class numbers start at 0", given >= limit),
    ):
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise DataError(
                name_sample(source, ids, index),
                f"the label {given[index]} {problem}",
                "give class numbers 0, 1, …, in the order of the model's outputs, or class names",
            )
    return given.astype(np.int64)


def _numbered(labels: npt.NDArray[np.int64], source: str) -> list[str]:
    """Return the names '0'..'C-1' for labels up to C − 1, or raise an error if they are counted from 1."""
    present = np.unique(labels)
    # numbers from 1 without a gap are most likely numbers of C classes, not of C + 1 with an empty one
    if present[0] == 1 and len(present) == present[-1]:
        raise DataError(
            f"{source}, labels",
            f"no sample has the label 0, but labels go up to {present[-1]}",
            "subtract 1 from the labels, or set class_names if the model has a class 0",
        )
    return [str(number) for number in range(int(present[-1]) + 1)]


def check_classes(labels: npt.NDArray[np.int64], names: list[str], source: str) -> None:
    """Check that training data has samples of at least two classes.

    A class without samples is allowed: a network can have more classes than its training data. Nothing is
    measured of it.

    Args:
        labels: Class numbers, [N].
        names: Class names, [C].
        source: The dataset, for messages.

    Raises:
        DataError: If there is only one.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            source,
            f"has only one class: {names[int(present[0])]!r}",
            "give data with samples of at least two classes",
        )


def _some(names: Sequence[str]) -> str:
    """List the first few names."""
    rest = len(names) - _MAX_NAMES_SHOWN
    more = f", … {rest} more" if rest > 0 else ""
    return ", ".join(repr(name) for name in names[:_MAX_NAMES_SHOWN]) + more
