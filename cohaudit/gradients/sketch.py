"""Sketches: short random projections of per-sample gradients that keep cosines.

A weight's gradient G [out, in] is kept as P_outᵀ G P_in with random signs in P (a Kronecker sketch): it
costs two thin products, because G_i = Σ_t b_t a_tᵀ is never formed. A side that is short enough is kept
whole, so that small parameters are not sketched at all. The map is linear: the sketch of a sum of
gradients is the sum of their sketches.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

VECTOR_FACTOR = 4
"""A vector (bias, norm scale) keeps this many times a weight's side: it has one side, and is cheap."""


@dataclass(frozen=True)
class Projection:
    """The random map of one parameter.

    Attributes:
        out: [kept rows, rows], or None where the rows are kept whole.
        into: [kept columns, columns], or None where the columns are kept whole.
        size: Numbers kept per sample.
        rows: Rows of the parameter seen as a matrix.
    """

    out: Tensor | None
    into: Tensor | None
    size: int
    rows: int

    def left(self, x: Tensor) -> Tensor:
        """Project the last dimension of x, [..., rows] → [..., kept rows]."""
        return x if self.out is None else _project(x, self.out)

    def right(self, x: Tensor) -> Tensor:
        """Project the last dimension of x, [..., columns] → [..., kept columns]."""
        return x if self.into is None else _project(x, self.into)

    def left_rows(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Project one-hot rows given by their index, [...] → [..., kept rows]."""
        if self.out is not None:
            return self.out.mT[index]
        return torch.nn.functional.one_hot(index, self.rows).to(dtype)


def _project(x: Tensor, signs: Tensor) -> Tensor:
    """Return x @ signsᵀ, in the order that is twice as fast where there are few signs to a row."""
    thin = (signs @ x.reshape(-1, x.shape[-1]).mT).mT
    return thin.reshape(*x.shape[:-1], len(signs))


def _signs(rows: int, kept: int, seed: str, like: Tensor) -> Tensor | None:
    """Return random signs / √kept, [kept, rows], equal on every device; None if rows ≤ kept."""
    if rows <= kept:
        return None
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    signs: Tensor = torch.randint(0, 2, (rows, kept), generator=generator, dtype=torch.int8) * 2 - 1
    scaled: Tensor = signs.to(like) / kept**0.5
    return scaled.mT.contiguous()


def _sides(shape: torch.Size, side: int) -> tuple[int, int]:
    """Return how many rows and columns are kept of a parameter of this shape."""
    rows = shape[0] if shape else 1
    columns = shape[1:].numel()
    if len(shape) <= 1:
        return min(rows, VECTOR_FACTOR * side), 1
    return min(rows, side), min(columns, side)


def _largest_side(shapes: list[torch.Size], budget: int) -> int:
    """Return the largest side at which all parameters together keep at most `budget` numbers."""
    side = 1
    while True:
        sizes = [rows * columns for rows, columns in (_sides(shape, side + 1) for shape in shapes)]
        smaller = [rows * columns for rows, columns in (_sides(shape, side) for shape in shapes)]
        if sum(sizes) > budget or sizes == smaller:
            return side
        side += 1


def make_projections(parameters: Mapping[str, Tensor], budget: int, seed: int) -> dict[str, Projection]:
    """Return a projection for each parameter.

    Args:
        parameters: Name → parameter.
        budget: Numbers to keep per sample, over all parameters; every parameter keeps at least one.
        seed: Seed of the signs; with the parameter's name it fixes them.

    Returns:
        Name → projection, in the order of `parameters`.
    """
    side = _largest_side([parameter.shape for parameter in parameters.values()], budget)
    projections = {}
    for name, parameter in parameters.items():
        kept_rows, kept_columns = _sides(parameter.shape, side)
        rows = parameter.shape[0] if parameter.ndim else 1
        columns = parameter.shape[1:].numel()
        projections[name] = Projection(
            _signs(rows, kept_rows, f"{seed}/out/{name}", parameter),
            _signs(columns, kept_columns, f"{seed}/in/{name}", parameter) if parameter.ndim > 1 else None,
            kept_rows * kept_columns,
            rows,
        )
    return projections
