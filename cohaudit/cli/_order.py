"""The order in which the checkpoints of one training run were written: shells sort ckpt-10 before ckpt-2."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from cohaudit.errors import CheckpointError

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def in_training_order(checkpoints: Sequence[Path]) -> list[Path]:
    """Return the checkpoints of one training run in order, the oldest first.

    Paths that are equal apart from their numbers are sorted by these, if no number falls in that order:
    ckpt-2, ckpt-10; epoch=2-step=300, epoch=10-step=1100. The last checkpoint given may have another name,
    such as final; it stays the last. In all other cases the order stays as given.

    Args:
        checkpoints: Paths as given, at least one.

    Raises:
        CheckpointError: If a file is named twice.
    """
    _refuse_twice(checkpoints)
    *earlier, last = checkpoints
    # a last checkpoint that is named like the others has no special place
    if words_of(last) in map(words_of, earlier):
        return _by_number(checkpoints)
    return [*_by_number(earlier), last]


def by_first_rising_number(checkpoints: Sequence[Path]) -> list[Path]:
    """Return checkpoints whose paths differ in numbers alone, sorted by the first number that differs in all.

    For epoch=9-val=0.5 and epoch=10-val=0.3 that is the epoch.

    Args:
        checkpoints: Paths, at least one.

    Raises:
        CheckpointError: If no number differs in all of them.
    """
    numbers = [[Decimal(number) for number in _NUMBER.findall(str(path))] for path in checkpoints]
    for column in zip(*numbers, strict=True):
        if len(set(column)) == len(column):
            return [checkpoints[i] for i in sorted(range(len(column)), key=lambda i: column[i])]
    raise CheckpointError(
        str(checkpoints[0].parent),
        "the numbers in the names do not give the order of its checkpoints",
        "name the checkpoints one by one, oldest first",
    )


def words_of(path: Path) -> list[str]:
    """Return the parts of a path between its numbers."""
    return _NUMBER.split(str(path))[::2]


def _by_number(checkpoints: Sequence[Path]) -> list[Path]:
    """Return the paths sorted by number, or as they are if the numbers do not give an order."""
    numbers = [[Decimal(number) for number in _NUMBER.findall(str(path))] for path in checkpoints]
    order = sorted(range(len(checkpoints)), key=lambda i: numbers[i])
    alike = all(words_of(path) == words_of(checkpoints[0]) for path in checkpoints)
    if alike and all(_follows(numbers[i], numbers[j]) for i, j in pairwise(order)):
        return [checkpoints[i] for i in order]
    return list(checkpoints)


def _follows(before: list[Decimal], after: list[Decimal]) -> bool:
    """Return whether no number falls."""
    return all(a <= b for a, b in zip(before, after, strict=True))


def _refuse_twice(checkpoints: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    # by what a path leads to: one checkpoint under two names would count twice
    for path in checkpoints:
        other = first.setdefault(os.path.realpath(path), path)
        if other is not path:
            same = "named twice" if other == path else f"the same file as {other}"
            raise CheckpointError(str(path), same, "name each checkpoint once")
