"""What is read off a batch's gradients of one parameter: norms, sketches, and the sum of each class.

Whole gradients, where they are formed, are formed for a few samples at a time in one buffer that stays in a
processor's cache, and all is read while they are there: touching fresh memory costs more than what is
computed in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cohaudit.gradients.convolved import Convolved
from cohaudit.gradients.dense import Dense
from cohaudit.gradients.per_sample import CACHE_BYTES, Outer, PerSample
from cohaudit.gradients.sketch import Projection

ACCELERATOR_FACTOR = 32
"""On an accelerator, pieces are so many times larger: there the number of operations counts."""

TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Share:
    """The samples of one class in a batch.

    Attributes:
        label: The class.
        start: Position of the first one.
        stop: Behind the last one.
        peak: The largest scale among them; see `Residuals.scale`.
        weights: Each one's scale over the largest, in the parameters' dtype: gradients of fitted samples are
            tiny, and float32 holds them relative to each other.
    """

    label: int
    start: int
    stop: int
    peak: float
    weights: Tensor


def shares(labels: Tensor, scale: Tensor, like: Tensor) -> list[Share]:
    """Split a batch by class.

    Args:
        labels: int64 [batch], sorted.
        scale: float64 [batch].
        like: A parameter, for type and device.
    """
    values, counts = torch.unique_consecutive(labels, return_counts=True)
    found, stop = [], 0
    for label, count in zip(values.tolist(), counts.tolist(), strict=True):
        start, stop = stop, stop + count
        own = scale[start:stop]
        peak = max(own.max().item(), TINY)
        found.append(Share(label, start, stop, peak, (own / peak).to(like)))
    return found


@dataclass(frozen=True)
class Reading:
    """What was read off.

    Attributes:
        squared_norms: ‖G_i‖², [batch].
        sketches: [batch, projection.size].
        sums: Per share Σ_i w_i G_i over its samples, shaped like the parameter.
    """

    squared_norms: Tensor
    sketches: Tensor
    sums: list[Tensor]


class Reader:
    """Reads gradients, with one buffer for all that are formed whole.

    Args:
        like: A parameter, for type and device.
    """

    def __init__(self, like: Tensor) -> None:
        size = CACHE_BYTES * (1 if like.device.type == "cpu" else ACCELERATOR_FACTOR)
        self._buffer = like.new_empty(max(1, size // like.element_size()))

    def read(
        self, form: PerSample, shape: torch.Size, projection: Projection, parts: Sequence[Share]
    ) -> Reading:
        """Read norms, sketches and sums.

        Args:
            form: The batch's gradients.
            shape: The parameter's.
            projection: The parameter's.
            parts: The batch, split by class.
        """
        if form.sparse or isinstance(form, Dense):
            sums = [self._rows(form, part, parts).weighted_sum(part.weights) for part in parts]
            return Reading(form.squared_norms(), form.sketch(projection), sums)
        norms, sketches = [], []
        sums = [self._buffer.new_zeros(shape) for _ in parts]
        for part, total in zip(parts, sums, strict=True):
            for start, stop in self._pieces(part.start, part.stop, shape.numel()):
                formed = self._formed(form.rows(start, stop), (stop - start) * shape.numel())
                norms.append(formed.squared_norms())
                sketches.append(formed.sketch(projection))
                formed.add_to(total, part.weights[start - part.start : stop - part.start])
        return Reading(torch.cat(norms), torch.cat(sketches), sums)

    def sketch(self, form: PerSample, shape: torch.Size, projection: Projection, samples: int) -> Tensor:
        """Return the sketches alone, [samples, projection.size]; arguments as for `read`."""
        if form.sparse or isinstance(form, Dense | Outer):
            return form.sketch(projection)
        pieces = self._pieces(0, samples, shape.numel())
        return torch.cat([form.rows(start, stop).sketch(projection) for start, stop in pieces])

    @staticmethod
    def _rows(form: PerSample, part: Share, parts: Sequence[Share]) -> PerSample:
        return form if len(parts) == 1 else form.rows(part.start, part.stop)

    def _pieces(self, start: int, stop: int, size: int) -> list[tuple[int, int]]:
        """Cut samples into pieces that fit the buffer, of even length: threads take half each."""
        step = max(1, len(self._buffer) // max(1, size))
        step -= step % 2 if step > 1 else 0
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def _formed(self, form: PerSample, entries: int) -> Dense:
        if isinstance(form, Outer | Convolved) and entries <= len(self._buffer):
            return form.dense(self._buffer)
        return form.dense()
