"""Reads a batch's gradients of one parameter: norms, sketches, and the sum of each class.

Whole gradients, where they are formed at all, are formed for a few samples at a time, in one buffer that
stays in a processor's cache. All results are computed while they are there: touching fresh memory costs more
than computing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cohaudit.gradients.forms.convolved import Convolved
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import CACHE_BYTES, Outer, PerSample
from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.gradients.sketch import Projection

ACCELERATOR_BUFFER_FACTOR = 32
"""The buffer is this many times larger on an accelerator, whose time depends on the number of kernel launches
rather than on a cache."""


@dataclass(frozen=True)
class ClassSlice:
    """The samples of one class in a batch.

    Attributes:
        label: The class.
        start: Position of the first sample in the batch.
        stop: Position after the last one.
        peak: The largest scale among them; see `Residuals.scale`.
        weights: Each sample's scale over the largest, in the parameters' dtype. Gradients of fitted samples
            are tiny; float32 can hold them relative to each other.
    """

    label: int
    start: int
    stop: int
    peak: float
    weights: Tensor


def split_by_class(labels: Tensor, scale: Tensor, like: Tensor) -> list[ClassSlice]:
    """Split a batch by class.

    Args:
        labels: int64 [batch], sorted.
        scale: float64 [batch].
        like: A parameter, for dtype and device.
    """
    values, counts = torch.unique_consecutive(labels, return_counts=True)
    slices = []
    stop = 0
    for label, count in zip(values.tolist(), counts.tolist(), strict=True):
        start = stop
        stop = stop + count
        own = scale[start:stop]
        peak = max(own.max().item(), SMALLEST_FLOAT64)
        slices.append(ClassSlice(label, start, stop, peak, (own / peak).to(like)))
    return slices


class Reader:
    """Reads gradients, with one buffer for all that are formed whole.

    Args:
        buffer: Memory for whole gradients, [any], in the parameters' dtype.
    """

    def __init__(self, buffer: Tensor) -> None:
        self._buffer = buffer
        # sums of 16-bit numbers must not be rounded to 16 bits after every piece
        self._sum_dtype = torch.promote_types(buffer.dtype, torch.float32)

    @classmethod
    def like(cls, parameter: Tensor) -> Reader:
        """Return a reader with a buffer on the parameter's device, in its dtype."""
        size = CACHE_BYTES * (1 if parameter.device.type == "cpu" else ACCELERATOR_BUFFER_FACTOR)
        return cls(parameter.new_empty(max(1, size // parameter.element_size())))

    def read(
        self,
        form: PerSample,
        shape: torch.Size,
        projection: Projection,
        slices: Sequence[ClassSlice],
        add: Callable[[ClassSlice, Tensor], None],
    ) -> tuple[Tensor, Tensor]:
        """Read norms, sketches and sums.

        Args:
            form: The batch's gradients.
            shape: Shape of the parameter.
            projection: Random projection of the parameter.
            slices: The batch, split by class.
            add: Called for each class with Σ_i w_i G_i over its samples, shaped like the parameter.

        Returns:
            ‖G_i‖², [batch], and the sketches, [batch, projection.size].
        """
        if form.sparse or isinstance(form, Dense):
            for part in slices:
                own = form if len(slices) == 1 else form.rows(part.start, part.stop)
                add(part, own.weighted_sum(part.weights))
            return form.squared_norms(), form.sketch(projection)
        # Signs cost least on the two factors of an outer product. Where the projection first adds up groups
        # of rows, it multiplies by the rows' signs in the same operation, at no cost.
        single_rows = projection.group == 1 and not projection.keeps_all
        outer = form if isinstance(form, Outer) and single_rows else None
        norms = []
        sketches = []
        # a sum per class, because a class's sum is what coherence is computed from
        for part in slices:
            total = self._buffer.new_zeros(shape, dtype=self._sum_dtype)
            for start, stop in self.pieces(form, shape, part.start, part.stop):
                piece = form.rows(start, stop)
                if outer is not None:
                    piece = outer.rows(start, stop).signed(projection)
                formed = self.formed(piece, (stop - start) * shape.numel())
                norms.append(formed.squared_norms())
                whole = formed.gradients
                sketches.append(projection.of_whole(whole) if outer is None else projection.of_signed(whole))
                formed.add_to(total, part.weights[start - part.start : stop - part.start])
            add(part, total if outer is None else projection.sign(total))
        return torch.cat(norms), torch.cat(sketches)

    def sketch(self, form: PerSample, shape: torch.Size, projection: Projection, samples: int) -> Tensor:
        """Return the sketches alone, [samples, projection.size]; arguments as for `read`."""
        if form.sparse or isinstance(form, Dense):
            return form.sketch(projection)
        pieces = self.pieces(form, shape, 0, samples)
        formed = (self.formed(form.rows(a, b), (b - a) * shape.numel()) for a, b in pieces)
        return torch.cat([piece.sketch(projection) for piece in formed])

    def pieces(self, form: PerSample, shape: torch.Size, start: int, stop: int) -> list[tuple[int, int]]:
        """Cut samples into pieces that fit the buffer, of even length for two threads to share."""
        size = shape.numel()
        if isinstance(form, Convolved) and form.b.device.type != "cpu":
            # an accelerator unfolds the input, which takes more memory than the gradients
            size = max(size, shape[1:].numel() * form.groups * form.b.shape[2:].numel())
        step = max(1, len(self._buffer) // max(1, size))
        # a single sample stays a piece of its own
        step -= step % 2 if step > 1 else 0
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def formed(self, form: PerSample, entries: int) -> Dense:
        """Return whole gradients, `entries` numbers in all, in the buffer if they fit it."""
        # `out=` needs the buffer's dtype; autocast may have left another
        if isinstance(form, Outer | Convolved) and form.b.dtype == self._buffer.dtype:
            return form.dense(self._buffer if entries <= len(self._buffer) else None)
        return form.dense()
