"""In which order the checkpoints of one training were written: shells sort ckpt-10 before ckpt-2."""

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
    """Put the checkpoints of one training in order, the last one last.

    Where paths are equal apart from their numbers, and one order lets no number fall, it is that one:
    ckpt-2, ckpt-10; epoch=2-step=300, epoch=10-step=1100. The last one given may have another name, as
    final does; it stays the last. Otherwise all stay as given.

    Args:
        checkpoints: As given, at least one.

    Returns:
        The same paths.

    Raises:
        CheckpointError: If a file is named twice.
    """
    _refuse_twice(checkpoints)
    *earlier, last = checkpoints
    return _by_number(checkpoints) or [*(_by_number(earlier) or earlier), last]


def _by_number(checkpoints: Sequence[Path]) -> list[Path] | None:
    """Return the paths by number; None where that says nothing of their order."""
    parts = [_NUMBER.split(str(path)) for path in checkpoints]
    numbers = [[Decimal(number) for number in part[1::2]] for part in parts]
    order = sorted(range(len(parts)), key=lambda i: numbers[i])
    alike = all(part[::2] == parts[0][::2] for part in parts)
    if not alike or not all(_follows(numbers[i], numbers[j]) for i, j in pairwise(order)):
        return None
    return [checkpoints[i] for i in order]


def _follows(before: list[Decimal], after: list[Decimal]) -> bool:
    """Return whether no number falls."""
    return all(a <= b for a, b in zip(before, after, strict=True))


def _refuse_twice(checkpoints: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for path in checkpoints:
        other = first.setdefault(os.path.realpath(path), path)
        if other is not path:
            same = "named twice" if other == path else f"the same file as {other}"
            raise CheckpointError(str(path), same, "name each checkpoint of the training once")
