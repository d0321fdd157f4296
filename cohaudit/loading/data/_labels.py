"""Labels as given → class numbers 0..C-1 and C class names, or an error that names the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cohaudit.errors import DataError, did_you_mean
from cohaudit.loading.data._ids import name_sample, text

_SHOWN = 5


def encode_labels(
    values: npt.ArrayLike,
    class_names: Sequence[str],
    source: str,
    ids: Sequence[str],
    complete: bool = True,
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Turn labels as given into class numbers.

    Labels that all are class names go by name; other integers are positions in the list of class names.
    Without class names, those are the sorted labels when they are text, else '0'..'C-1'.

    Args:
        values: [N] or [N, 1]: integers, floats or booleans with integral values, or text.
        class_names: Names in the order of the model's outputs; may be empty.
        source: The dataset, for messages.
        ids: The samples' ids, [N].
        complete: Whether every class must have a sample.

    Returns:
        The class numbers, int64 [N], and the class names.

    Raises:
        DataError: If there is no sample, a label is missing, unknown, out of range or no integer, a class is
            empty, there are fewer than two classes, or labels and samples differ in number.
    """
    given = _one_per_sample(np.asarray(values), source, len(ids))
    names = _unique_names(class_names, source)
    seen, codes = _distinct(given)
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
    """Return the labels as [N], or raise an error when they are not one a sample."""
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 2:
        raise DataError(
            f"{source}, labels",
            f"shape {list(given.shape)} looks like one column a class (one-hot or soft labels)",
            "give one class number a sample: labels.argmax(axis=1)",
        )
    if given.ndim != 1:
        raise DataError(
            f"{source}, labels", f"shape {list(given.shape)}", "give one label a sample, shape [N]"
        )
    if len(given) != samples:
        raise DataError(
            source,
            f"{samples} samples, but {len(given)} labels",
            "give one label a sample, in the same order",
        )
    if samples == 0:
        raise DataError(source, "the dataset holds no sample", "check that it is the training data")
    return given


def _distinct(given: npt.NDArray[Any]) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Return the distinct labels, sorted, and for each sample which of them it has."""
    if given.dtype.kind == "O":
        given = np.array([text(value) for value in given])
    seen, codes = np.unique(given, return_inverse=True)
    return seen.tolist(), codes


def _unique_names(class_names: Sequence[str], source: str) -> list[str]:
    """Return the class names as a list, or raise an error when one occurs twice."""
    names = list(class_names)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{source}, class_names", f"{twice!r} occurs twice", "give every class its own name")
    return names


def _by_name(
    seen: list[Any], codes: npt.NDArray[np.intp], names: list[str], source: str, ids: Sequence[str]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Encode text labels without class names; with some, one of the labels is unknown."""
    if not names:
        return codes.astype(np.int64), [text(value) for value in seen]
    known = np.array([text(value) in names for value in seen])
    index = int(np.flatnonzero(~known[codes])[0])
    label = text(seen[codes[index]])
    hint = did_you_mean(label, names)
    raise DataError(
        name_sample(source, ids, index),
        f"the label {label!r} is not among class_names ({_some(names)})",
        f"{hint if hint.endswith('?') else f'{hint}.'} Where the model does have that class, add it to"
        " class_names (--class-names).",
    )


def _by_number(
    given: npt.NDArray[Any], names: list[str], source: str, ids: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Encode numeric labels: class numbers from 0."""
    if given.dtype.kind not in "biuf":
        raise DataError(f"{source}, labels", f"the type {given.dtype}", "give integers or class names")
    limit = len(names) or len(given)
    excess = f"class_names has {len(names)} names" if names else f"there are only {len(given)} samples"
    for problem, wrong in (
        ("is missing (NaN)", np.isnan(given)),
        ("is not an integer, so no class", ~np.isnan(given) & (given != np.floor(given))),
        ("is negative", given < 0),
        (f"is out of range: {excess}, and labels count from 0", given >= limit),
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
    """Return the names '0'..'C-1', once every number up to the largest label is known to occur."""
    present = np.unique(labels)
    if len(present) <= present[-1]:
        first = int(np.flatnonzero(present != np.arange(len(present)))[0])
        hint = (
            "subtract 1 from the labels"
            if first == 0 and present[0] == 1
            else "number the classes without a gap"
        )
        raise DataError(
            f"{source}, labels",
            f"no sample has the label {first}, though labels go up to {present[-1]}",
            f"{hint}, or give class_names and add samples of the empty class",
        )
    return [str(number) for number in range(len(present))]


def check_classes(labels: npt.NDArray[np.int64], names: list[str], source: str) -> None:
    """Refuse labels to train on that leave a class without a sample.

    Args:
        labels: Class numbers, [N].
        names: Of the classes.
        source: The dataset, for messages.

    Raises:
        DataError: Unless there are two classes or more, each with a sample.
    """
    if len(names) < 2:
        raise DataError(
            source, f"only one class: {names[0]!r}", "an audit needs samples of two classes or more"
        )
    empty = [
        name
        for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True)
        if not count
    ]
    if empty:
        raise DataError(
            f"{source}, class {empty[0]!r}",
            f"no sample has this class (empty: {_some(empty)})",
            "add samples of it, or correct class_names: it must be spelled as the labels are",
        )


def _some(names: Sequence[str]) -> str:
    """List the first few names."""
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
