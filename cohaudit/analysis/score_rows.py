"""Scores of all samples that are computed, or read from a file, a block of samples at a time.

A prediction of N labels of C classes takes N · C numbers, and a verdict is made from several. Whatever has a
shape and gives the rows of some samples is enough for it: an array, in memory or in a file, or an object that
computes them. Up to `WHOLE_NUMBERS` all is kept in memory in float64; beyond, blocks are float32.

Arrays: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cohaudit.arrays import allocate, blocks_of, release

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

WHOLE_NUMBERS = 2**24
"""Numbers in a prediction up to which it is kept whole in memory, in float64: 134 MB. Of a larger one, what
is one number for all samples is fitted to as many of them as give so many numbers."""

MIN_FITTED = 5000
"""Samples that such a number is fitted to at least, however many classes there are."""

MAX_FITTED = 200_000
"""Samples that such a number is fitted to at most: no share of them is off by more than 0.2 % then."""

SMALLEST_LOG = -12.0
"""Floor of a log-probability: no prediction is surer than one in 160,000, and a single one could otherwise
outweigh all others."""


class ScoreRows(Protocol):
    """Scores of each class for each sample: an array [N, C], or what computes its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the scores of some samples, given by a slice or by their indices, [n, C]."""


def is_whole(shape: tuple[int, ...], numbers: int | None = None) -> bool:
    """Return whether an array of this shape is small enough to be kept whole, in float64.

    Args:
        shape: Rows and columns.
        numbers: Numbers up to which it is; `WHOLE_NUMBERS` if left out.
    """
    return shape[0] * shape[1] <= (WHOLE_NUMBERS if numbers is None else numbers)


def fitted_sample(shape: tuple[int, ...], numbers: int | None = None) -> slice | Integers:
    """Return the samples that numbers which all share are fitted to: all, or some spread over the data.

    One is drawn from each of equally long stretches: evenly spaced ones could miss whole classes of data that
    repeat themselves.

    Args:
        shape: Rows, one per sample, and columns.
        numbers: Numbers up to which it is all; `WHOLE_NUMBERS` if left out.
    """
    count, columns = shape
    size = (WHOLE_NUMBERS if numbers is None else numbers) // max(columns, 1)
    size = min(max(size, MIN_FITTED), MAX_FITTED)
    if count <= size:
        return slice(None)
    # a fixed seed, not the user's: the verdict must not depend on it
    places = np.arange(size) + np.random.default_rng(0).random(size)
    return np.minimum((places * (count / size)).astype(np.int64), count - 1)


def score_blocks(scores: ScoreRows) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield blocks of samples and their scores, [n, C]; the memory that a file takes is given back.

    Args:
        scores: [N, C].
    """
    for rows in blocks_of(scores.shape[0], scores.shape[1]):
        yield rows, scores[rows]
        release(scores)


def blank(shape: tuple[int, int], what: str) -> NDArray[Any]:
    """Return zeros to be filled with scores: float64 in memory if few, else float32, in a file if many.

    Args:
        shape: N and C.
        what: What they will be, for a person.

    Raises:
        EngineError: If the disk has no room for them.
    """
    return np.zeros(shape) if is_whole(shape) else allocate(*shape, what)


def stored(scores: ScoreRows, what: str) -> NDArray[Any]:
    """Return scores as an array, see `blank`.

    Args:
        scores: [N, C].
        what: What they are, for a person.

    Raises:
        EngineError: If the disk has no room for them.
    """
    kept = blank((scores.shape[0], scores.shape[1]), what)
    for rows in blocks_of(*kept.shape):
        kept[rows] = scores[rows]
        release(kept)
    return kept


def at(scores: ScoreRows, columns: Integers) -> Array:
    """Return one score of each sample, that of the given class, float64 [N]."""
    found = np.empty(len(columns))
    for rows, block in score_blocks(scores):
        found[rows] = block[np.arange(len(block)), columns[rows]]
    return found


def likeliest(scores: ScoreRows) -> Integers:
    """Return the class with the largest score of each sample, the first of equal ones, [N]."""
    found = np.empty(scores.shape[0], dtype=np.int64)
    for rows, block in score_blocks(scores):
        found[rows] = block.argmax(1)
    return found


def without(block: NDArray[Any], columns: Integers, instead: float) -> NDArray[Any]:
    """Return a copy of scores in which that of the given class is replaced, [n, C].

    Args:
        block: [n, C].
        columns: Class of each sample, [n].
        instead: What stands in its place.
    """
    others = block.copy()
    others[np.arange(len(block)), columns] = instead
    return others


def log_probability(block: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return log-probabilities of at least `SMALLEST_LOG`, [n, C]."""
    logs: NDArray[np.floating] = np.maximum(block, np.finfo(block.dtype).tiny)
    np.log(logs, out=logs)
    np.maximum(logs, SMALLEST_LOG, out=logs)
    return logs


@dataclass(frozen=True)
class Softmax:
    """Probabilities: the softmax of β times each score.

    Attributes:
        scores: [N, C].
        sharpness: β.
    """

    scores: ScoreRows
    sharpness: float

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.scores.shape

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the probabilities of some samples, [n, C]."""
        mass = self._relative(rows)
        np.exp(mass, out=mass)
        mass /= mass.sum(1, keepdims=True)
        return mass

    def logarithms(self, rows: slice | Integers) -> NDArray[np.floating]:
        """Return the log-probabilities of some samples, of at least `SMALLEST_LOG`, [n, C]."""
        logs = self._relative(rows)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        np.maximum(logs, SMALLEST_LOG, out=logs)
        return logs

    def _relative(self, rows: slice | Integers) -> NDArray[np.floating]:
        # relative to the largest score: exp cannot overflow then
        block = self.scores[rows]
        relative: NDArray[np.floating] = block - block.max(1, keepdims=True)
        relative *= self.sharpness
        return relative


@dataclass(frozen=True)
class Even:
    """The same probabilities for every sample.

    Attributes:
        shares: Probability of each class, [C].
        samples: N.
    """

    shares: Array
    samples: int

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.samples, len(self.shares)

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the probabilities of some samples, [n, C]."""
        count = len(range(*rows.indices(self.samples))) if isinstance(rows, slice) else len(rows)
        return np.tile(self.shares, (count, 1)).astype(np.float64 if is_whole(self.shape) else np.float32)


@dataclass(frozen=True)
class WeightedSum:
    """The weighted sum of several predictions, or of their log-probabilities.

    Attributes:
        parts: Predictions, [N, C] each; at least one.
        weights: Weight of each.
        logarithms: Whether log-probabilities are added.
    """

    parts: Sequence[ScoreRows]
    weights: Sequence[float]
    logarithms: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.parts[0].shape

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the sums for some samples, [n, C]."""
        total: NDArray[np.floating] | None = None
        for part, weight in zip(self.parts, self.weights, strict=True):
            own = self._term(part, rows) * float(weight)
            # in place: a float64 part, such as the same row for all, does not make all of it float64
            total = own if total is None else np.add(total, own, out=total, casting="same_kind")
        assert total is not None
        return total

    def _term(self, part: ScoreRows, rows: slice | Integers) -> NDArray[np.floating]:
        if not self.logarithms:
            block: NDArray[np.floating] = part[rows]
            return block
        return part.logarithms(rows) if isinstance(part, Softmax) else log_probability(part[rows])


class LastBlock:
    """Scores that remember the block last asked for: several sums of one block compute it once.

    Args:
        scores: [N, C].
    """

    def __init__(self, scores: ScoreRows) -> None:
        self._scores = scores
        self._rows: slice | None = None
        self._block: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self._scores.shape

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the scores of some samples, which must not be written to, [n, C]."""
        if not isinstance(rows, slice):
            found: NDArray[np.floating] = self._scores[rows]
            return found
        if rows != self._rows:
            # the memory that the block before takes, if it lies in a file
            release(self._scores)
            self._rows, self._block = rows, self._scores[rows]
        block: NDArray[np.floating] = self._block
        return block
