"""Sums over the samples of the gradients of an embedding's tokens; see `inputs`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cohaudit.gradients.passes.input_sums import InputSums, as_array
from cohaudit.gradients.precision import widest_float

MAX_TOKENS = 300
"""Tokens of an embedding that are measured: those that occur in most samples."""

NO_SLOT = -1
"""Stands for a token that is not measured."""


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
        # one number for a sample and a token, so that `unique` finds the pairs
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
        # a difference that should be zero can be rounded to a little below
        squares = squares.clamp_min(0) * reached
        return InputSums(
            layer=name,
            columns=self.tokens.numpy(),
            tokens=True,
            squared_sum=as_array(sums.square().sum(2)),
            squares=as_array(squares),
            norms=as_array((squares * self.samples.to(self.total)).sqrt()),
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
    # stable: of tokens that are equally frequent, every run measures the same
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
