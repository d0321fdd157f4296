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

Array = NDArray[np.float64]

MOST_TOKENS = 300
"""Tokens of an embedding that are looked at: those that most samples have."""


@dataclass(frozen=True)
class InputSums:
    """Sums over the samples of the gradients g_ij of each input column's weights.

    In the first row for the labels as given, in the others for shuffled ones: [orders, columns].

    Attributes:
        layer: The layer that sees the input.
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


class ColumnSums:
    """Those of a dense layer on a row: g_ij = δ_i (x_ij − mean_j).

    The mean is that part of a column that every sample has, and belongs to the layer's bias.

    Args:
        layer: The layer.
        rows: All samples, in batches, [batch, columns].
        orders: Of the labels.
        device: Where.
    """

    def __init__(
        self, layer: nn.Linear | nn.Embedding, rows: Iterable[Tensor], orders: int, device: torch.device
    ) -> None:
        self._wide = _wide(device)
        mean, constant = _mean(rows)
        self._mean, self._varies = mean.to(**self._wide), (~constant).to(**self._wide)
        outputs, columns = layer.weight.shape
        self._sums = torch.zeros(orders, outputs, columns, **self._wide)
        self._squares, self._norms = (torch.zeros(orders, columns, **self._wide) for _ in range(2))

    def begin(self, rows: Tensor) -> None:
        """Begin a batch of samples, [batch, columns]."""
        self._x = (rows.to(**self._wide) - self._mean) * self._varies

    def add(self, order: int, delta: Tensor) -> None:
        """Add the batch for one order of the labels.

        Args:
            order: Which.
            delta: Gradient at the layer's output, [batch, outputs].
        """
        delta = delta.to(**self._wide)
        size = delta.norm(dim=1)
        self._sums[order] += delta.mT @ self._x
        self._squares[order] += size.square() @ self._x.square()
        self._norms[order] += size @ self._x.abs()

    def finished(self, name: str) -> InputSums:
        """Return the sums of the layer of that name."""
        return InputSums(
            layer=name,
            columns=np.arange(len(self._mean)),
            tokens=False,
            squared_sum=_array(self._sums.square().sum(1)),
            squares=_array(self._squares),
            norms=_array(self._norms),
            constant=_array(self._varies) == 0,
        )


class TokenSums:
    """Those of an embedding: g_iv = Σ over the places t of token v in sample i of (δ_it − mean δ).

    The mean, over all places of all samples but those of padding, is what every token gets, as a bias would.
    Each sample that has a token counts alike: Σ‖g‖ stands for √(samples · Σ‖g‖²), so that the coherence is
    α_u over these.

    Args:
        layer: The embedding.
        rows: All samples, in batches, [batch, places].
        orders: Of the labels.
        device: Where.
    """

    def __init__(
        self, layer: nn.Linear | nn.Embedding, rows: Iterable[Tensor], orders: int, device: torch.device
    ) -> None:
        self._wide = _wide(device)
        vocabulary, size = layer.weight.shape
        having = torch.zeros(vocabulary, dtype=torch.int64)
        for row in rows:
            having += torch.stack([torch.bincount(one.unique(), minlength=vocabulary) for one in row]).sum(0)
        padding = layer.padding_idx if isinstance(layer, nn.Embedding) else None
        self._padding = -1 if padding is None else padding
        if padding is not None:
            having[padding] = 0  # it is not trained
        order = having.argsort(descending=True, stable=True)
        tokens = order[: min(MOST_TOKENS, int((having > 0).sum()))].sort().values
        self._tokens = tokens
        self._samples = having[tokens].double()
        self._slot = torch.full((vocabulary,), -1, device=device)
        self._slot[tokens.to(device)] = torch.arange(len(tokens), device=device)
        shape = orders, len(tokens), size
        self._sums, self._weighted = (torch.zeros(shape, **self._wide) for _ in range(2))
        self._squares = torch.zeros(shape[:2], **self._wide)
        self._total = torch.zeros(orders, size, **self._wide)
        self._places, self._squared_places = (torch.zeros(len(tokens), **self._wide) for _ in range(2))
        self._count = 0

    def begin(self, rows: Tensor) -> None:
        """Begin a batch of samples, [batch, places]."""
        slots = self._slot[rows]
        sample = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
        self._chosen = slots >= 0
        pairs = sample[self._chosen] * len(self._tokens) + slots[self._chosen]
        # a sample and a token in it are a pair, in however many places
        found, self._pair, times = pairs.unique(return_inverse=True, return_counts=True)
        self._of_pair, self._times = found % len(self._tokens), times.to(**self._wide)
        self._places.index_add_(0, self._of_pair, self._times)
        self._squared_places.index_add_(0, self._of_pair, self._times.square())
        self._told = rows != self._padding
        self._count += int(self._told.sum())

    def add(self, order: int, delta: Tensor) -> None:
        """Add the batch for one order of the labels.

        Args:
            order: Which.
            delta: Gradient at the embedding's output, [batch, places, size].
        """
        delta = delta.to(**self._wide)
        self._total[order] += delta[self._told].sum(0)
        gradients = torch.zeros(len(self._of_pair), delta.shape[2], **self._wide)
        gradients.index_add_(0, self._pair, delta[self._chosen])
        self._sums[order].index_add_(0, self._of_pair, gradients)
        self._weighted[order].index_add_(0, self._of_pair, gradients * self._times[:, None])
        self._squares[order].index_add_(0, self._of_pair, gradients.square().sum(1))

    def finished(self, name: str) -> InputSums:
        """Return the sums of the embedding of that name, the mean taken out of each gradient."""
        mean = self._total[:, None] / self._count
        sums = self._sums - mean * self._places[:, None]
        crossed = (self._weighted * mean).sum(2)
        squares = self._squares - 2 * crossed + mean.square().sum(2) * self._squared_places
        reached = (self._squares > 0).all(0)  # not so the padding that a model masks
        squares = squares.clamp_min(0) * reached
        return InputSums(
            layer=name,
            columns=self._tokens.numpy(),
            tokens=True,
            squared_sum=_array(sums.square().sum(2)),
            squares=_array(squares),
            norms=_array((squares * self._samples.to(**self._wide)).sqrt()),
            constant=np.zeros(len(self._tokens), dtype=bool),
        )


def _wide(device: torch.device) -> dict[str, Any]:
    # Apple's GPUs have no float64
    return {"dtype": torch.float32 if device.type == "mps" else torch.float64, "device": device}


def _array(values: Tensor) -> Array:
    return values.cpu().double().numpy()


def _mean(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
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
    constant = torch.stack(lowest).amin(0) == torch.stack(highest).amax(0)
    return torch.stack(totals).sum(0) / count, constant
