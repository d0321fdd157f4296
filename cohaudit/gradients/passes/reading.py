"""What is read off a batch's gradients of one parameter: norms, sketches, and the sum of each class.

Whole gradients, where they are formed, are formed for a few samples at a time in one buffer that stays in a
processor's cache, and all is read while they are there: touching fresh memory costs more than what is
computed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cohaudit.gradients.forms.convolved import Convolved
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import CACHE_BYTES, Outer, PerSample
from cohaudit.gradients.precision import TINY
from cohaudit.gradients.sketch import Projection

ACCELERATOR_FACTOR = 32
"""On an accelerator, pieces are so many times larger: there the number of operations counts."""


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
    found = []
    stop = 0
    for label, count in zip(values.tolist(), counts.tolist(), strict=True):
        start = stop
        stop = stop + count
        own = scale[start:stop]
        peak = max(own.max().item(), TINY)
        found.append(Share(label, start, stop, peak, (own / peak).to(like)))
    return found


class Reader:
    """Reads gradients, with one buffer for all that are formed whole.

    Args:
        like: A parameter, for type and device.
    """

    def __init__(self, like: Tensor) -> None:
        size = CACHE_BYTES * (1 if like.device.type == "cpu" else ACCELERATOR_FACTOR)
        self._buffer = like.new_empty(max(1, size // like.element_size()))
        # sums of 16-bit numbers are not rounded to 16 bits after every piece
        self._sum_dtype = torch.promote_types(like.dtype, torch.float32)

    def read(
        self,
        form: PerSample,
        shape: torch.Size,
        projection: Projection,
        parts: Sequence[Share],
        add: Callable[[Share, Tensor], None],
    ) -> tuple[Tensor, Tensor]:
        """Read norms, sketches and sums.

        Args:
            form: The batch's gradients.
            shape: The parameter's.
            projection: The parameter's.
            parts: The batch, split by class.
            add: Called for each part with Σ_i w_i G_i over its samples, shaped like the parameter.

        Returns:
            ‖G_i‖², [batch], and the sketches, [batch, projection.size].
        """
        if form.sparse or isinstance(form, Dense):
            for part in parts:
                own = form if len(parts) == 1 else form.rows(part.start, part.stop)
                add(part, own.weighted_sum(part.weights))
            return form.squared_norms(), form.sketch(projection)
        # where rows are not added up, with their signs, signs cost least on the factors of outer products
        single_rows = projection.group == 1 and not projection.keeps_all
        outer = form if isinstance(form, Outer) and single_rows else None
        norms = []
        sketches = []
        for part in parts:
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
        """Cut samples into pieces that fit the buffer, of even length: threads take half each."""
        size = shape.numel()
        if isinstance(form, Convolved) and form.b.device.type != "cpu":
            # there the input is unfolded, which takes more than the gradients
            size = max(size, shape[1:].numel() * form.groups * form.b.shape[2:].numel())
        step = max(1, len(self._buffer) // max(1, size))
        step -= step % 2 if step > 1 else 0
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def formed(self, form: PerSample, entries: int) -> Dense:
        """Return whole gradients, `entries` numbers in all, in the buffer where that can be."""
        if isinstance(form, Outer | Convolved) and form.b.dtype == self._buffer.dtype:
            return form.dense(self._buffer if entries <= len(self._buffer) else None)
        return form.dense()
