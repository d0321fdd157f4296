"""Per-sample gradients formed whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cohaudit.gradients.sketch import Projection

LONG_ROW = 16384
"""From this many entries on, a gradient is worth a call of its own on a CPU."""


@dataclass(frozen=True)
class Dense:
    """The gradients themselves.

    Attributes:
        gradients: G, [batch, *parameter shape].
    """

    gradients: Tensor

    @property
    def _flat(self) -> Tensor:
        return self.gradients.reshape(len(self.gradients), -1)

    def rows(self, start: int, stop: int) -> Dense:
        """Return the samples start..stop-1."""
        return Dense(self.gradients[start:stop])

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖², [batch]."""
        flat = self._flat
        if flat.device.type == "cpu" and flat.shape[1] >= LONG_ROW:
            # a product with itself reads the row once; squaring writes a copy of all gradients first
            return torch.stack([torch.dot(row, row) for row in flat])
        return flat.square().sum(1)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], shaped like the parameter."""
        total: Tensor = torch.tensordot(weights.to(self.gradients.dtype), self.gradients, dims=1)
        return total

    def add_to(self, total: Tensor, weights: Tensor) -> None:
        """Add Σ_i w_i G_i to a tensor shaped like the parameter."""
        if total.dtype == self.gradients.dtype:
            # adds in place, without a tensor for the sum
            total.view(-1).addmv_(self._flat.mT, weights.to(total.dtype))
        else:
            total.add_(self.weighted_sum(weights))

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch], for a direction shaped like the parameter."""
        return self._flat @ direction.flatten()

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size]."""
        return projection.of_whole(self.gradients)

    def dense(self) -> Dense:
        """Return itself."""
        return self

    sparse = False
    """Whether the form costs less than whole gradients."""
