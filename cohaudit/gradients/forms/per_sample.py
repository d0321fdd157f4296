"""Per-sample gradients of one parameter, in the form in which its layer gives them.

Layout everywhere: `[batch, positions, features]`. G_i is the gradient of sample i, shaped like the parameter;
a "position" is a token, a pixel or one of several calls, and G_i is a sum over them. Each form has the same
methods (squared norms, weighted sum, dot products, sketch, the gradients themselves), as cheap as its
structure allows. If a form is not `sparse`, it is cheaper to form whole gradients once and compute everything
from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add as plus
from typing import TypeAlias

import torch
from torch import Tensor

from cohaudit.gradients.forms.convolved import Convolved
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.sketch import Projection

CACHE_BYTES = 8 * 2**20
"""Gradients up to this size stay in the cache of a CPU while they are read."""

CACHED_READ_PRODUCTS = 6
"""Reading an entry of a whole gradient from the cache, for its square and its class's sum, costs as much as
this many products of a matrix multiplication."""

UNCACHED_READ_FACTOR = 5
"""If one gradient alone exceeds the cache, reading its entries costs this many times more."""


@dataclass(frozen=True)
class Outer:
    """A weight's gradients as sums of outer products, G_i = Σ_t b_it a_itᵀ (Goodfellow, arXiv 1510.01799).

    Attributes:
        b: Gradients with respect to the layer's output, [batch, positions, out].
        a: The layer's input, [batch, positions, in].
    """

    b: Tensor
    a: Tensor

    def rows(self, start: int, stop: int) -> Outer:
        """Return the samples start..stop-1."""
        return Outer(self.b[start:stop], self.a[start:stop])

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖² = Σ_tu ⟨a_t, a_u⟩⟨b_t, b_u⟩, [batch]."""
        if self.b.shape[1] == 1:  # one position: ‖b aᵀ‖ = ‖b‖ ‖a‖
            return self.b.square().sum((1, 2)) * self.a.square().sum((1, 2))
        return ((self.a @ self.a.mT) * (self.b @ self.b.mT)).sum((1, 2))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], [out, in]."""
        scaled = self.b * weights.to(self.b.dtype)[:, None, None]
        # one product over batch and positions; no sample's gradient is formed
        return scaled.flatten(0, 1).mT @ self.a.flatten(0, 1)

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩ = Σ_t b_tᵀ D a_t, [batch], for D [out, in]."""
        return ((self.b @ direction) * self.a).sum((1, 2))

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        if projection.keeps_all:
            return self.dense().sketch(projection)
        return projection.from_spectra(projection.left(self.b), projection.right(self.a))

    def signed(self, projection: Projection) -> Outer:
        """Return the gradients multiplied by the projection's signs of rows and columns."""
        rows = projection.row_signs
        columns = projection.column_signs
        return Outer(self.b * rows.to(self.b.dtype), self.a * columns.to(self.a.dtype))

    def dense(self, buffer: Tensor | None = None) -> Dense:
        """Return the gradients themselves, [batch, out, in], in a flat buffer if one is given."""
        shape = len(self.b), self.b.shape[2], self.a.shape[2]
        out = None if buffer is None else buffer[: prod(shape)].view(shape)
        return Dense(torch.bmm(self.b.mT, self.a, out=out))

    @property
    def sparse(self) -> bool:
        """Whether Gram matrices over positions cost less than whole gradients.

        The Gram matrices take positions² · (out + in) products. Forming whole gradients takes positions · out
        · in, which weighted sums need in any case; what they cost in addition is reading each entry.
        """
        _, positions, out = self.b.shape
        size = out * self.a.shape[2]
        cached = size * self.b.element_size() <= CACHE_BYTES
        products = CACHED_READ_PRODUCTS * (1 if cached else UNCACHED_READ_FACTOR)
        return positions == 1 or positions**2 * (out + self.a.shape[2]) <= products * size


@dataclass(frozen=True)
class Lookup:
    """An embedding's gradients: `Outer` whose output side is one-hot, G_i = Σ_t e_{index_t} b_tᵀ.

    Attributes:
        index: Row that each position looked up, [batch, positions].
        b: Gradients with respect to the rows, [batch, positions, dim].
        count: Rows of the table.
    """

    index: Tensor
    b: Tensor
    count: int

    def rows(self, start: int, stop: int) -> Lookup:
        """Return the samples start..stop-1."""
        return Lookup(self.index[start:stop], self.b[start:stop], self.count)

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖² = Σ_row ‖Σ_t [index_t = row] b_t‖², [batch]: positions with the same row add up."""
        # not by pairs of positions: a long text has too many
        batch, positions, width = self.b.shape
        rows, order = self.index.sort(1)
        begins = torch.zeros_like(order)
        begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
        # number of a position's row among those of its sample
        local = torch.empty_like(order).scatter_(1, order, begins.cumsum(1))
        first = torch.arange(batch, device=order.device)[:, None] * positions
        # sums of 16-bit numbers must not be rounded after every position
        wide = torch.promote_types(self.b.dtype, torch.float32)
        sums = self.b.new_zeros(batch * positions, width, dtype=wide)
        sums.index_add_(0, (local + first).flatten(), self.b.flatten(0, 1).to(wide))
        return sums.square().sum(1).view(batch, positions).sum(1)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], [rows, dim]."""
        scaled = self.b * weights.to(self.b.dtype)[:, None, None]
        table = self.b.new_zeros(self.count, self.b.shape[2])
        return table.index_add_(0, self.index.flatten(), scaled.flatten(0, 1))

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction [rows, dim]."""
        return (direction[self.index] * self.b).sum((1, 2))

    def dot_outer(self, outer: Outer) -> Tensor:
        """Return ⟨G_i, H_i⟩, [batch], for H_i = Σ_u c_u a_uᵀ: the sum over t, u of c_u[index_t]⟨b_t, a_u⟩."""
        rows = self.index[:, None, :].expand(-1, outer.b.shape[1], -1)
        return (outer.b.gather(2, rows).mT * (self.b @ outer.a.mT)).sum((1, 2))

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        return projection.of_rows(self.index, self.b)

    def dense(self) -> Dense:
        """Return the gradients themselves, [batch, rows, dim]."""
        table = self.b.new_zeros(len(self.b), self.count, self.b.shape[2])
        index = self.index[:, :, None].expand_as(self.b)
        return Dense(table.scatter_add_(1, index, self.b))

    sparse = True
    """Whether the form costs less than whole gradients."""


@dataclass(frozen=True)
class Lazy:
    """Gradients that are formed on demand, a few samples at a time.

    Attributes:
        form: (start, stop) → the gradients of these samples, [stop − start, *parameter shape].
        start: Position of the first sample.
        stop: Position after the last one.
    """

    form: Callable[[int, int], Tensor]
    start: int
    stop: int

    def rows(self, start: int, stop: int) -> Lazy:
        """Return the samples start..stop-1."""
        # positions are relative to these rows, which may themselves be a part of the batch
        return Lazy(self.form, self.start + start, min(self.start + stop, self.stop))

    def dense(self) -> Dense:
        """Return the gradients themselves."""
        return Dense(self.form(self.start, self.stop))

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖², [batch]."""
        return self.dense().squared_norms()

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], shaped like the parameter."""
        return self.dense().weighted_sum(weights)

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction shaped like the parameter."""
        return self.dense().dot(direction)

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        return self.dense().sketch(projection)

    sparse = False
    """Whether the form costs less than whole gradients."""


@dataclass(frozen=True)
class Sum:
    """The gradients of a parameter that is used several times, in different forms.

    Attributes:
        parts: One per form. A `Lookup` and an `Outer`, from an embedding tied to the head, stay sparse.
    """

    parts: tuple[PerSample, ...]

    def rows(self, start: int, stop: int) -> Sum:
        """Return the samples start..stop-1."""
        return Sum(tuple(part.rows(start, stop) for part in self.parts))

    def squared_norms(self) -> Tensor:
        """Return ‖Σ_use G_i‖², cross terms included, [batch]."""
        match self.parts:
            case (Lookup() as lookup, Outer() as outer):
                # ‖A + B‖² = ‖A‖² + 2⟨A, B⟩ + ‖B‖², without forming either
                return lookup.squared_norms() + 2 * lookup.dot_outer(outer) + outer.squared_norms()
            case _:
                return self.dense().squared_norms()

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], shaped like the parameter."""
        return reduce(plus, [part.weighted_sum(weights) for part in self.parts])

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction shaped like the parameter."""
        return reduce(plus, [part.dot(direction) for part in self.parts])

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        return reduce(plus, [part.sketch(projection) for part in self.parts])

    def dense(self) -> Dense:
        """Return the gradients themselves."""
        return Dense(reduce(plus, [part.dense().gradients for part in self.parts]))

    @property
    def sparse(self) -> bool:
        """Whether the form costs less than whole gradients."""
        return [type(part) for part in self.parts] == [Lookup, Outer]


PerSample: TypeAlias = Dense | Outer | Lookup | Convolved | Lazy | Sum


def add(forms: Sequence[PerSample]) -> PerSample:
    """Return the per-sample gradients of a parameter used several times: the sum over its uses.

    Outer products and lookups are joined along the positions, so that norms include the cross terms between
    uses.
    """
    if len(forms) == 1:
        return forms[0]
    lookups = [form for form in forms if isinstance(form, Lookup)]
    outers = [form for form in forms if isinstance(form, Outer)]
    # lookups first: `Sum` knows the pair of a lookup and outer products in this order
    parts: list[PerSample] = []
    if lookups:
        index = torch.cat([f.index for f in lookups], 1)
        b = torch.cat([f.b for f in lookups], 1)
        parts.append(Lookup(index, b, lookups[0].count))
    if outers:
        parts.append(Outer(torch.cat([f.b for f in outers], 1), torch.cat([f.a for f in outers], 1)))
    parts += [form for form in forms if not isinstance(form, Lookup | Outer)]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))
