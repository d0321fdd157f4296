"""Sums over the samples of the gradients of each input column's weights; see `inputs`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.gradients.precision import widest_float

Array = NDArray[np.float64]

MAX_TOKENS = 300
"""Tokens of an embedding that are measured: those that occur in most samples."""

NO_SLOT = -1
"""Stands for a token that is not measured."""


@dataclass(frozen=True)
class InputSums:
    """Sums over the samples of the gradients g_ij of each input column's weights.

    The first row holds the sums for the labels as given, the others for shuffled ones: [orders, columns].

    Attributes:
        layer: Name of the layer that receives the input.
        columns: Numbers of the columns, or of the tokens, [columns].
        tokens: Whether they are tokens.
        squared_sum: ‖Σ_i g_ij‖².
        squares: Σ_i ‖g_ij‖².
        norms: Σ_i ‖g_ij‖.
        constant: Whether all samples have the same value, [columns].
    """

    layer: str
    columns: NDArray[np.int64]
    tokens: bool
    squared_sum: Array
    squares: Array
    norms: Array
    constant: NDArray[np.bool_]


def rows_of(inputs: Any) -> Tensor:
    """Return the one tensor among a batch's inputs as [batch, columns]."""
    (leaf,) = pytree.tree_leaves(inputs)
    rows: Tensor = leaf.flatten(1)
    return rows


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
            squared_sum=_array(self.sums.square().sum(1)),
            squares=_array(self.squares),
            norms=_array(self.norms),
            constant=_array(self.varies) == 0,
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


@dataclass(frozen=True)
class _TokenBatch:
    """Which measured tokens stand where in a batch.

    A sample and a token that occurs in it are a pair, at however many positions.

    Attributes:
        measured: Whether a position holds a measured token, [batch, positions].
        pair: Number of the pair of each measured position, [measured positions].
        token: Slot of each pair's token, [pairs].
        times: How often the token occurs in the sample, [pairs].
        trained: Whether a position is not padding, [batch, positions].
    """

    measured: Tensor
    pair: Tensor
    token: Tensor
    times: Tensor
    trained: Tensor


@dataclass
class TokenSums:
    """Sums of an embedding: g_iv = Σ over the positions t of token v in sample i of (δ_it − mean δ).

    The mean, over all positions of all samples except padding, is what every token receives; it acts like a
    bias. Each sample that contains a token counts alike: Σ‖g‖ is √(samples · Σ‖g‖²), so that the coherence is
    α_u over these samples.

    Attributes:
        tokens: Numbers of the measured tokens, [tokens].
        samples: Number of samples that contain each, [tokens].
        slot: Token → its position among the measured ones, or `NO_SLOT`, [vocabulary].
        padding: Token that is not trained; -1 for none.
        sums: Sum of δ over the positions of each token, [orders, tokens, size].
        weighted: The same, each sample's part times how often the token occurs in it, [orders, tokens, size].
        squares: Σ_i ‖Σ_t δ_it‖², [orders, tokens].
        total: Sum of δ over all positions except padding, [orders, size].
        positions: How often each token occurs, [tokens].
        squared_positions: Σ_i (how often it occurs in sample i)², [tokens].
        count: Positions except padding.
        batch: The current batch.
    """

    tokens: Tensor
    samples: Tensor
    slot: Tensor
    padding: int
    sums: Tensor
    weighted: Tensor
    squares: Tensor
    total: Tensor
    positions: Tensor
    squared_positions: Tensor
    count: int = 0
    batch: _TokenBatch | None = None

    def begin(self, rows: Tensor) -> None:
        """Begin a batch of samples, [batch, positions]."""
        slots = self.slot[rows]
        sample = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
        measured = slots != NO_SLOT
        pairs = sample[measured] * len(self.tokens) + slots[measured]
        distinct, pair, times = pairs.unique(return_inverse=True, return_counts=True)
        batch = _TokenBatch(
            measured=measured,
            pair=pair,
            token=distinct % len(self.tokens),
            times=times.to(self.total),
            trained=rows != self.padding,
        )
        self.positions.index_add_(0, batch.token, batch.times)
        self.squared_positions.index_add_(0, batch.token, batch.times.square())
        self.count += int(batch.trained.sum())
        self.batch = batch

    def add(self, order: int, delta: Tensor) -> None:
        """Add the batch for one order of the labels.

        Args:
            order: Number of the order.
            delta: Gradient at the embedding's output, [batch, positions, size].
        """
        assert self.batch is not None
        batch = self.batch
        delta = delta.to(self.total)
        self.total[order] += delta[batch.trained].sum(0)
        gradients = delta.new_zeros(len(batch.token), delta.shape[2])
        gradients.index_add_(0, batch.pair, delta[batch.measured])
        self.sums[order].index_add_(0, batch.token, gradients)
        self.weighted[order].index_add_(0, batch.token, gradients * batch.times[:, None])
        self.squares[order].index_add_(0, batch.token, gradients.square().sum(1))

    def finished(self, name: str) -> InputSums:
        """Return the sums of the embedding with this name, the mean subtracted from each gradient.

        The mean is known after the last batch only: ‖g − n m‖² = ‖g‖² − 2 n⟨g, m⟩ + n²‖m‖², for a token that
        occurs n times in a sample.
        """
        mean = self.total[:, None] / self.count
        sums = self.sums - mean * self.positions[:, None]
        crossed = (self.weighted * mean).sum(2)
        squares = self.squares - 2 * crossed + mean.square().sum(2) * self.squared_positions
        reached = (self.squares > 0).all(0)  # a padding that the model masks is not
        squares = squares.clamp_min(0) * reached
        return InputSums(
            layer=name,
            columns=self.tokens.numpy(),
            tokens=True,
            squared_sum=_array(sums.square().sum(2)),
            squares=_array(squares),
            norms=_array((squares * self.samples.to(self.total)).sqrt()),
            constant=np.zeros(len(self.tokens), dtype=bool),
        )


def make_token_sums(
    layer: nn.Embedding, rows: Iterable[Tensor], orders: int, device: torch.device
) -> TokenSums:
    """Return sums of zero for an embedding.

    Args:
        layer: The embedding.
        rows: All samples, in batches, [batch, positions].
        orders: Number of orders of the labels.
        device: Device to run on.
    """
    dtype = widest_float(device)
    vocabulary, size = layer.weight.shape
    containing = torch.zeros(vocabulary, dtype=torch.int64)
    for row in rows:
        containing += torch.stack([torch.bincount(one.unique(), minlength=vocabulary) for one in row]).sum(0)
    if layer.padding_idx is not None:
        containing[layer.padding_idx] = 0  # its row is not trained
    order = containing.argsort(descending=True, stable=True)
    tokens = order[: min(MAX_TOKENS, int((containing > 0).sum()))].sort().values
    slot = torch.full((vocabulary,), NO_SLOT, device=device)
    slot[tokens.to(device)] = torch.arange(len(tokens), device=device)
    return TokenSums(
        tokens=tokens,
        samples=containing[tokens].double(),
        slot=slot,
        padding=-1 if layer.padding_idx is None else layer.padding_idx,
        sums=torch.zeros(orders, len(tokens), size, dtype=dtype, device=device),
        weighted=torch.zeros(orders, len(tokens), size, dtype=dtype, device=device),
        squares=torch.zeros(orders, len(tokens), dtype=dtype, device=device),
        total=torch.zeros(orders, size, dtype=dtype, device=device),
        positions=torch.zeros(len(tokens), dtype=dtype, device=device),
        squared_positions=torch.zeros(len(tokens), dtype=dtype, device=device),
    )


def _array(values: Tensor) -> Array:
    return values.cpu().double().numpy()


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
