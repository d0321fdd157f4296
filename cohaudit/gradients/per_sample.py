"""Per-sample gradients of one parameter in the forms a layer gives them, and what is read off each form.

Layout everywhere: `[batch, positions, features]`. G_i is the gradient of sample i, shaped like the
parameter; a "position" is a token, a pixel or one of several calls, and G_i sums over them. Each form
answers the same five questions (squared norms, weighted sum, dot products, sketch, the gradients
themselves) in the cheapest way its structure allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from cohaudit.gradients.sketch import Projection


@dataclass(frozen=True)
class Dense:
    """The gradients themselves.

    Attributes:
        gradients: G, [batch, *parameter shape].
    """

    gradients: Tensor

    def rows(self, start: int, stop: int) -> Dense:
        """Return the samples start..stop-1."""
        return Dense(self.gradients[start:stop])

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖², [batch]."""
        squares: Tensor = self.gradients.flatten(1).square()
        return squares.sum(1)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], shaped like the parameter."""
        total: Tensor = torch.tensordot(weights.to(self.gradients.dtype), self.gradients, dims=1)
        return total

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction shaped like the parameter."""
        return self.gradients.flatten(1) @ direction.flatten()

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        if self.gradients.ndim <= 2:
            return projection.left(self.gradients.flatten(1))
        matrices = self.gradients.flatten(2)
        return projection.left(projection.right(matrices).mT).mT.flatten(1)

    def dense(self) -> Dense:
        """Return itself."""
        return self


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
        """Return ‖G_i‖² = Σ_tu ⟨a_t, a_u⟩⟨b_t, b_u⟩, [batch]; by Gram matrices or G_i, the smaller."""
        _, positions, out = self.b.shape
        if positions == 1:
            return self.b.square().sum((1, 2)) * self.a.square().sum((1, 2))
        if positions * (out + self.a.shape[2]) <= out * self.a.shape[2]:
            return ((self.a @ self.a.mT) * (self.b @ self.b.mT)).sum((1, 2))
        return self.dense().squared_norms()

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], [out, in]."""
        scaled = self.b * weights.to(self.b.dtype)[:, None, None]
        return scaled.flatten(0, 1).mT @ self.a.flatten(0, 1)

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩ = Σ_t b_tᵀ D a_t, [batch], for D [out, in]."""
        return ((self.b @ direction) * self.a).sum((1, 2))

    def sketch(self, projection: Projection) -> Tensor:
        """Return Σ_t (P_out b_t)(P_in a_t)ᵀ, flattened to [batch, projection.size]."""
        return (projection.left(self.b).mT @ projection.right(self.a)).flatten(1)

    def dense(self) -> Dense:
        """Return the gradients themselves, [batch, out, in]."""
        return Dense(self.b.mT @ self.a)


@dataclass(frozen=True)
class Lookup:
    """An embedding's gradients: `Outer` whose output side is one-hot, G_i = Σ_t e_{index_t} b_tᵀ.

    Attributes:
        index: The rows looked up, [batch, positions].
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
        """Return ‖G_i‖², [batch]: positions that share a row add up before they are squared."""
        same = self.index[:, :, None] == self.index[:, None, :]
        return ((self.b @ self.b.mT) * same).sum((1, 2))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], [rows, dim]."""
        scaled = self.b * weights.to(self.b.dtype)[:, None, None]
        table = self.b.new_zeros(self.count, self.b.shape[2])
        return table.index_add_(0, self.index.flatten(), scaled.flatten(0, 1))

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction [rows, dim]."""
        return (direction[self.index] * self.b).sum((1, 2))

    def sketch(self, projection: Projection) -> Tensor:
        """Return Σ_t (P_out e_t)(P_in b_t)ᵀ, flattened to [batch, projection.size]."""
        return (projection.left_rows(self.index, self.b.dtype).mT @ projection.right(self.b)).flatten(1)

    def dense(self) -> Dense:
        """Return the gradients themselves, [batch, rows, dim]."""
        table = self.b.new_zeros(len(self.b), self.count, self.b.shape[2])
        index = self.index[:, :, None].expand_as(self.b)
        return Dense(table.scatter_add_(1, index, self.b))


PerSample: TypeAlias = Dense | Outer | Lookup


def add(forms: Sequence[PerSample]) -> PerSample:
    """Return the per-sample gradients of a parameter used several times: the sum over its uses.

    Cross terms between the uses are kept: outer products are joined along the positions, anything else
    is added as whole gradients.
    """
    if len(forms) == 1:
        return forms[0]
    outers = [form for form in forms if isinstance(form, Outer)]
    if len(outers) == len(forms):
        return Outer(torch.cat([form.b for form in outers], 1), torch.cat([form.a for form in outers], 1))
    return Dense(torch.stack([form.dense().gradients for form in forms]).sum(0))
