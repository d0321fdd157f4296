"""Sums over the samples of the gradients of each input column's weights; see `inputs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

Array = NDArray[np.float64]


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


def as_array(values: Tensor) -> Array:
    """Return a tensor as a float64 array."""
    return values.cpu().double().numpy()
