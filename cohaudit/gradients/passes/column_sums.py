"""Sums over the samples of the gradients of a dense layer's columns; see `inputs`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cohaudit.gradients.passes.input_sums import InputSums, as_array
from cohaudit.gradients.precision import widest_float


@dataclass
class ColumnSums:
    """Sums of a dense layer on a row: g_ij = δ_i (x_ij − mean_j).

    The mean is the part of a column that every sample has; it acts like the layer's bias.

    Attributes:
        mean: Mean of each column, [columns].
        varies: 1 for a column whose values differ, 0 for a constant one, [columns].
        sums: Σ_i g_ij, [orders, outputs, columns].
        squares: Σ_i ‖g_ij‖², [orders, columns].
        norms: Σ_i ‖g_ij‖, [orders, columns].
        centered: The current batch without the mean, [batch, columns].
    """

    mean: Tensor
    varies: Tensor
    sums: Tensor
    squares: Tensor
    norms: Tensor
    centered: Tensor

    def begin(self, rows: Tensor) -> None:
        """Begin a batch of samples, [batch, columns]."""
        # times `varies`: a mean that is rounded would leave something of a constant column
        self.centered = (rows.to(self.mean) - self.mean) * self.varies

    def add(self, order: int, delta: Tensor) -> None:
        """Add the batch for one order of the labels.

        Args:
            order: Number of the order.
            delta: Gradient at the layer's output, [batch, outputs].
        """
        delta = delta.to(self.mean)
        size = delta.norm(dim=1)
        self.sums[order] += delta.mT @ self.centered
        # ‖δ xᵀ‖ is ‖δ‖ |x| column by column: no gradient needs to be formed
        self.squares[order] += size.square() @ self.centered.square()
        self.norms[order] += size @ self.centered.abs()

    def finished(self, name: str) -> InputSums:
        """Return the sums of the layer with this name."""
        return InputSums(
            layer=name,
            columns=np.arange(len(self.mean)),
            tokens=False,
            squared_sum=as_array(self.sums.square().sum(1)),
            squares=as_array(self.squares),
            norms=as_array(self.norms),
            constant=as_array(self.varies) == 0,
        )


def make_column_sums(
    layer: nn.Linear, rows: Iterable[Tensor], orders: int, device: torch.device
) -> ColumnSums:
    """Return sums of zero for a dense layer.

    Args:
        layer: The layer.
        rows: All samples, in batches, [batch, columns].
        orders: Number of orders of the labels.
        device: Device to run on.
    """
    dtype = widest_float(device)
    mean, constant = _column_means(rows)
    outputs, columns = layer.weight.shape
    return ColumnSums(
        mean=mean.to(device, dtype),
        varies=(~constant).to(device, dtype),
        sums=torch.zeros(orders, outputs, columns, dtype=dtype, device=device),
        squares=torch.zeros(orders, columns, dtype=dtype, device=device),
        norms=torch.zeros(orders, columns, dtype=dtype, device=device),
        centered=torch.zeros(0, columns, dtype=dtype, device=device),
    )


def _column_means(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean of each column, float64, and whether all its values are the same, [columns]."""
    totals = []
    lowest = []
    highest = []
    count = 0
    for rows in batches:
        totals.append(rows.double().sum(0))
        lowest.append(rows.amin(0))
        highest.append(rows.amax(0))
        count += len(rows)
    # by the extremes: a variance computed from rounded sums is not exactly zero
    constant = torch.stack(lowest).amin(0) == torch.stack(highest).amax(0)
    return torch.stack(totals).sum(0) / count, constant
