"""What every kind of stored dataset offers to whoever corrects it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cohaudit.loading.data._ids import check_ids, text
from cohaudit.loading.data._labels import encode_labels

Rows = npt.NDArray[np.int64]


class Original(ABC):
    """A stored dataset: its samples' ids and labels, and how to write a copy.

    A sample that gets another class takes over the label of a sample of that class, so that the copy writes
    classes as the original does: as a number or a name, with the same type.

    Args:
        source: The path, for messages.
        ids: One id a sample.
        given: One label a sample, as `encode_labels` takes them.
        class_names: In the order of the model's outputs.
        written: The labels as they are stored, where `given` are made from them.

    Raises:
        DataError: If ids or labels cannot be those of an audit.
    """

    ids: list[str]
    """As in the audit."""
    labels: list[str]
    """Class name of each sample."""

    def __init__(
        self,
        source: str,
        ids: Sequence[str],
        given: npt.ArrayLike,
        class_names: Sequence[str],
        written: Sequence[Any] | None = None,
    ) -> None:
        self.ids = check_ids(ids, source)
        codes, names = encode_labels(given, class_names, source, self.ids)
        self.labels = [names[code] for code in codes]
        stored = np.asarray(given).reshape(-1).tolist() if written is None else written
        self._examples = _examples(self.labels, [text(value) for value in stored])

    @abstractmethod
    def write(self, target: Path, relabeled: Mapping[int, str], dropped: Collection[int]) -> dict[int, str]:
        """Write a copy.

        Args:
            target: The file or folder to make.
            relabeled: Position of a sample → its new class, one of `labels`.
            dropped: Positions of the samples to leave out.

        Returns:
            Position → id in the copy, for the samples of `relabeled` that have another id there.

        Raises:
            DataError: If the original cannot be read or copied whole.
        """

    def _donors(self, relabeled: Mapping[int, str]) -> Rows:
        """Return for each sample the one whose stored label it has in the copy: mostly itself."""
        donors = np.arange(len(self.ids))
        for position, name in relabeled.items():
            donors[position] = self._examples[name]
        return donors

    def _kept(self, dropped: Collection[int]) -> Rows:
        """Return the positions of the samples that go into the copy."""
        left = set(dropped)
        return np.array([i for i in range(len(self.ids)) if i not in left], dtype=np.int64)


def _examples(labels: Sequence[str], stored: Sequence[str]) -> dict[str, int]:
    """Return for each class a sample whose label is stored the way that most of the class are."""
    spelled = Counter(zip(labels, stored, strict=True))
    first: dict[tuple[str, str], int] = {}
    for position, pair in enumerate(zip(labels, stored, strict=True)):
        first.setdefault(pair, position)
    return {name: first[name, spelling] for (name, spelling), _ in reversed(spelled.most_common())}
