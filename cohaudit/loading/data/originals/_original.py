"""The interface of stored data that can be copied with corrections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cohaudit.loading.data._ids import check_ids, text
from cohaudit.loading.data._labels import encode_labels

Rows = npt.NDArray[np.int64]
"""Positions of samples."""


@dataclass(frozen=True)
class StoredLabels:
    """The ids and labels of stored samples."""

    ids: list[str]
    """Id of each sample, as in the audit, [N]."""
    labels: list[str]
    """Class name of each sample, [N]."""
    examples: dict[str, int]
    """Class name → position of a sample whose label is stored in the usual form of this class."""


def read_labels(
    source: str,
    ids: Sequence[str],
    values: npt.ArrayLike,
    class_names: Sequence[str],
    cells: Sequence[Any] | None = None,
) -> StoredLabels:
    """Check the ids and labels of stored samples.

    Args:
        source: The path, for messages.
        ids: Id of each sample, [N].
        values: Label of each sample, as `encode_labels` takes them, [N].
        class_names: Class names in the order of the model's outputs.
        cells: Labels as they are stored, if `values` were converted from them, [N].

    Raises:
        DataError: If the ids or labels cannot be audited.
    """
    # the same checks as for an audit, so that both see the same classes
    checked = check_ids(ids, source)
    codes, names = encode_labels(values, class_names, source, checked)
    labels = [names[code] for code in codes]
    stored = np.asarray(values).reshape(-1).tolist() if cells is None else cells
    return StoredLabels(checked, labels, _examples(labels, [text(value) for value in stored]))


class Original(ABC):
    """A stored dataset: ids and labels of its samples, and a way to write a corrected copy.

    A sample that gets another class takes over the stored label of a sample of that class. The copy therefore
    writes classes like the original: as numbers or names, with the same type.

    Args:
        stored: Ids and labels of the samples.
    """

    ids: list[str]
    """Id of each sample, as in the audit, [N]."""
    labels: list[str]
    """Class name of each sample, [N]."""

    def __init__(self, stored: StoredLabels) -> None:
        self.ids = stored.ids
        self.labels = stored.labels
        self._examples = stored.examples

    @abstractmethod
    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a corrected copy.

        Args:
            target: Path of the new file or folder.
            relabeled: Position of a sample → its new class, one of `labels`.
            dropped: Positions of the samples to leave out.

        Returns:
            Position → id in the copy, for samples of `relabeled` whose id changes.

        Raises:
            DataError: If the original cannot be read or copied completely.
        """

    def _donors(self, relabeled: Mapping[int, str]) -> Rows:
        """Return the sample whose stored label each sample gets in the copy, [N]; usually itself."""
        donors = np.arange(len(self.ids))
        for position, name in relabeled.items():
            donors[position] = self._examples[name]
        return donors

    def _remaining(self, dropped: Collection[int]) -> Rows:
        """Return the positions of the samples in the copy."""
        left_out = set(dropped)
        return np.array([i for i in range(len(self.ids)) if i not in left_out], dtype=np.int64)


def _examples(labels: Sequence[str], stored: Sequence[str]) -> dict[str, int]:
    """Return for each class the first sample whose label is stored in the most common form of the class."""
    spelled = Counter(zip(labels, stored, strict=True))
    first: dict[tuple[str, str], int] = {}
    for position, pair in enumerate(zip(labels, stored, strict=True)):
        first.setdefault(pair, position)
    # the most common form comes last, so that it replaces the others
    return {name: first[name, spelling] for (name, spelling), _ in reversed(spelled.most_common())}
