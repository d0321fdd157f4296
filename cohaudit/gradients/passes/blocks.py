"""Blocks of batches: what one process measures of a pass, and the order in which sums are added up.

The numbers of a pass must not depend on how many processes share it. Rows of samples do not, because batches
are the same for all. Sums of floating point numbers depend on the order of the additions. So a pass is cut
into blocks, by its samples and batches alone; sums are added up within a block, and blocks are added up in
their order, whether one process measures them or many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.tracing.plan import Plan

Integers = NDArray[np.int64]
PassKind = Literal["gradients", "sums", "forward"]
"""What a pass measures: every sample's gradient, sums of gradients, or what a forward pass tells."""

MAX_BLOCKS = 64
"""Most blocks of a pass. Each costs some additions of whole parameters, and, where processes share the pass,
up to three parameters in float64 on the disk."""
MIN_BATCHES = 4
"""Fewest batches of a block, if there are as many: so that its additions cost little beside its batches."""
CLASS_END_SHARE = 0.25
"""A cut is moved to the end of a class that is at most this share of a block away: a class that lies in one
block is finished there."""
NO_CLASS = -1
"""Stands where no class is unfinished."""


@dataclass(frozen=True)
class BlockClasses:
    """The classes of the samples of a block, in a pass that goes class by class.

    Attributes:
        continued: The class that began in the block before; `NO_CLASS` if none did.
        unfinished: The class that goes on in the next block; `NO_CLASS` if none does.
        finished: The classes that lie in the block as a whole, rising.
    """

    continued: int
    unfinished: int
    finished: Integers


@dataclass(frozen=True)
class PassOrder:
    """The order in which a pass goes through its samples; N samples.

    Attributes:
        order: Index of each sample, [N].
        bounds: Positions in `order` between which the batches lie, rising from 0 to N.
        blocks: Those of `bounds` between which the blocks lie, from 0 to N.
        labels: Label of each sample, in this order, [N].
    """

    order: Integers
    bounds: Integers
    blocks: Integers
    labels: Integers

    def __len__(self) -> int:
        return len(self.blocks) - 1

    def span(self, block: int) -> tuple[int, int]:
        """Return the first position of a block, and the one after its last."""
        return int(self.blocks[block]), int(self.blocks[block + 1])

    def samples(self, block: int) -> int:
        """Return the number of samples of a block."""
        start, stop = self.span(block)
        return stop - start

    def classes(self, block: int) -> BlockClasses:
        """Return the classes of a block; the pass goes class by class."""
        start, stop = self.span(block)
        labels = self.labels
        continued = int(labels[start]) if start and labels[start - 1] == labels[start] else NO_CLASS
        goes_on = stop < len(labels) and labels[stop - 1] == labels[stop]
        unfinished = int(labels[stop - 1]) if goes_on else NO_CLASS
        own = np.unique(labels[start:stop])
        return BlockClasses(continued, unfinished, own[(own != continued) & (own != unfinished)])

    def alone(self, block: int) -> PassOrder:
        """Return the order of a pass over the samples of one block, given in their order."""
        start, stop = self.span(block)
        inside = self.bounds[(self.bounds >= start) & (self.bounds <= stop)]
        return PassOrder(
            order=np.arange(stop - start),
            bounds=inside - start,
            blocks=np.array([0, stop - start]),
            labels=self.labels[start:stop],
        )


@dataclass(frozen=True)
class BlockState:
    """A block that was measured alone.

    Attributes:
        rows: Name → array with a row for each sample, in the order of the pass.
        sums: What it adds to the sums.
        metadata: `PassMetadata` in JSON's types.
    """

    rows: Mapping[str, NDArray[Any]]
    sums: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class BlockRequest:
    """A pass whose blocks are wanted.

    Attributes:
        kind: What it measures.
        setup: Model, samples, options and device.
        plan: How the model is measured.
        steps: The order of the samples.
        advance: To be called with the number of samples done.
    """

    kind: PassKind
    setup: PassSetup
    plan: Plan
    steps: PassOrder
    advance: Callable[[int], None]


BlockReader = Callable[[BlockRequest], Iterable[BlockState]]
"""Returns the blocks of a pass in their order, measured alone: by other processes, or before."""


def pass_order(labels: Integers, batch_size: int, kind: PassKind) -> PassOrder:
    """Return the order of a pass; it depends on nothing else.

    Args:
        labels: Label of each sample, [N].
        batch_size: Largest number of samples in a batch.
        kind: What is measured of each sample.
    """
    # class by class, so that one class's sum is in memory; stable, so that the order is always the same.
    # Forward passes alone go through the data in its own order, in which it is read fastest.
    order = np.arange(len(labels)) if kind == "forward" else np.argsort(labels, kind="stable")
    bounds = batch_bounds(labels[order], batch_size, by_class=kind == "sums")
    return PassOrder(order, bounds, _block_bounds(labels[order], bounds), labels[order])


def batch_bounds(labels: Integers, size: int, *, by_class: bool) -> Integers:
    """Return the positions between which batches lie, rising from 0 to the number of samples.

    Args:
        labels: Labels in the order of the pass, [N]; sorted, if batches are to be of one class.
        size: Largest number of samples in a batch.
        by_class: Whether a batch may hold one class only. Then batches of a class are of even size: the last
            one of a few samples would take as long as the others.
    """
    total = len(labels)
    if not by_class:
        return np.append(np.arange(0, total, size), total)
    counts = np.bincount(labels)
    bounds = [0]
    for count in counts[counts > 0].tolist():
        parts = -(-count // size)
        bounds.extend(bounds[-1] + np.arange(1, parts + 1) * count // parts)
    return np.asarray(bounds, dtype=np.int64)


def _block_bounds(labels: Integers, bounds: Integers) -> Integers:
    """Return the positions between which blocks lie: of even size in batches, at ends of classes if near."""
    batches = len(bounds) - 1
    count = int(np.clip(batches // MIN_BATCHES, 1, MAX_BLOCKS))
    cuts = np.arange(count + 1) * batches // count
    inner = bounds[1:-1]
    ends = 1 + np.flatnonzero(labels[inner - 1] != labels[inner])
    if len(ends):
        after = np.searchsorted(ends, cuts)
        left, right = ends[np.maximum(after - 1, 0)], ends[np.minimum(after, len(ends) - 1)]
        nearest = np.where(np.abs(left - cuts) <= np.abs(right - cuts), left, right)
        near = np.abs(nearest - cuts) <= CLASS_END_SHARE * batches / count
        near[[0, -1]] = False
        cuts = np.where(near, nearest, cuts)
    return bounds[cuts]
