"""Sketches: short random projections of per-sample gradients that keep cosines.

A weight's gradient G [rows, columns] is kept as m numbers: entry (r, c) is added, with a random sign, to the
number (h(r) + c) mod m. Rows and columns have signs of their own, so that of an outer product b aᵀ the sketch
is the circular convolution of two short vectors, one made of b and one of a (TensorSketch; Pham and Pagh, KDD
2013), and G_i = Σ_t b_t a_tᵀ is never formed for it. A parameter with at most m entries is kept whole. The
map is linear: the sketch of a sum of gradients is the sum of their sketches.

The standard error of a cosine between two sketches is about 1/√m. Two-sided projections P_outᵀ G P_in of m
numbers cost the same to make and err like 1/√√m where all samples share an activation: docs/sketches.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

WEIGHT_TO_VECTOR_RATIO = 8
"""A weight matrix gets this many times the numbers of a vector (bias, norm scale), which holds less
information."""

SMALL_SKETCH = 63
"""Up to this length the length of a sketch may have any odd prime factors: a short Fourier transform is fast
anyway."""

LARGEST_PRIME_FACTOR = 7
"""Longer sketches have no prime factor above this, so that the Fourier transform is fast."""

NEIGHBORING_ROWS = 8
"""Groups of rows that are shifted and added at once: at least this many, or as many as need padding by less
than one part in this many."""

SKETCH_BLOCK_ROWS = 4096
"""Rows of stored sketches that are read into memory at once, as they may lie in a file."""


@dataclass(frozen=True)
class Projection:
    """The random map of one parameter, seen as a matrix [rows, columns].

    Spectra are discrete Fourier transforms, [..., size // 2 + 1] complex: what is convolved is multiplied.

    Attributes:
        size: Numbers kept per sample; where they are the parameter's entries, it is kept whole.
        row_signs: [rows].
        column_signs: [columns].
        group: Rows that follow each other and are added up first.
        step: How many numbers a group is shifted against that before.
    """

    size: int
    row_signs: Tensor
    column_signs: Tensor
    group: int
    step: int

    @property
    def keeps_all(self) -> bool:
        """Whether the parameter is kept whole."""
        return self.size == len(self.row_signs) * len(self.column_signs)

    def of_whole(self, gradients: Tensor) -> Tensor:
        """Return the sketches of whole gradients, [batch, *shape] → [batch, size]; they share no memory.

        The gradients are read once; what is written is smaller by the size of a group.
        """
        matrices = full(gradients).reshape(len(gradients), len(self.row_signs), -1)
        if self.keeps_all:
            return matrices.flatten(1).clone()
        return self._add_columns(self._add_rows(matrices, self.row_signs) * self.column_signs)

    def sign(self, gradient: Tensor) -> Tensor:
        """Return a gradient [rows, columns] with the signs of its rows and columns, or without them again."""
        signs = self.row_signs[:, None] * self.column_signs
        return gradient * signs.to(gradient.dtype)

    def of_signed(self, gradients: Tensor) -> Tensor:
        """As `of_whole`, of gradients whose entries carry the signs of their rows and columns already."""
        matrices = full(gradients).reshape(len(gradients), len(self.row_signs), -1)
        return self._add_columns(self._add_rows(matrices, None))

    def _add_rows(self, matrices: Tensor, signs: Tensor | None) -> Tensor:
        """Return each group's sum of rows, with signs if given, [batch, rows, any] → [batch, groups, any]."""
        if self.group == 1:
            return matrices if signs is None else matrices * signs[:, None]
        if signs is None:
            signs = torch.ones_like(self.row_signs)
        even = len(signs) // self.group * self.group
        whole = matrices[:, :even].unflatten(1, (-1, self.group))
        sums: Tensor = (signs[:even].view(-1, 1, self.group) @ whole).squeeze(2)
        if even == len(signs):
            return sums
        rest: Tensor = signs[even:] @ matrices[:, even:]
        return torch.cat([sums, rest[:, None]], 1)

    def _add_columns(self, rows: Tensor) -> Tensor:
        """Return signed groups of rows, [batch, groups, columns], each shifted and added, [batch, size]."""
        if len(self.column_signs) == 1 and rows.shape[1] == self.size:
            return rows.squeeze(2)
        return _add_shifted(fold(rows, self.size), self.step, self.size)

    def left(self, x: Tensor) -> Tensor:
        """Return the spectrum of the row side of outer products, [..., rows] → [..., size // 2 + 1]."""
        sums = full(x) * self.row_signs
        if self.group > 1:
            sums = F.pad(sums, (0, -x.shape[-1] % self.group)).unflatten(-1, (-1, self.group)).sum(-1)
        if self.step > 1:
            sums = F.pad(sums[..., None], (0, self.step - 1)).flatten(-2)[..., : self.size]
        spectrum: Tensor = torch.fft.rfft(sums, self.size)
        return spectrum

    def right(self, x: Tensor) -> Tensor:
        """Return the spectrum of the column side, [..., columns] → [..., size // 2 + 1]."""
        spectrum: Tensor = torch.fft.rfft(fold(full(x) * self.column_signs, self.size), self.size)
        return spectrum

    def of_rows(self, index: Tensor, b: Tensor) -> Tensor:
        """Return the sketches of gradients that consist of a few rows, [batch, size].

        Args:
            index: Which rows, [batch, positions].
            b: What is in them, [batch, positions, columns].
        """
        if self.keeps_all:
            first = index * len(self.column_signs)
            values = full(b)
        else:
            first = index // self.group * self.step
            values = full(b) * (self.row_signs[index][:, :, None] * self.column_signs)
        places = first[:, :, None] + torch.arange(len(self.column_signs), device=index.device)
        sketches = values.new_zeros(len(b), self.size)
        return sketches.scatter_add_(1, (places % self.size).flatten(1), values.flatten(1))

    def right_of_each(self) -> Tensor:
        """Return `right` of every one-hot vector, [columns, size // 2 + 1]."""
        places = torch.arange(len(self.column_signs), device=self.column_signs.device) % self.size
        return self._units[places] * self.column_signs[:, None]

    @cached_property
    def _units(self) -> Tensor:
        """The spectra of one-hot vectors, [size, size // 2 + 1]."""
        eye = torch.eye(self.size, dtype=self.row_signs.dtype, device=self.row_signs.device)
        units: Tensor = torch.fft.rfft(eye)
        return units

    def from_spectra(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the sketches of Σ_t b_t a_tᵀ from both sides' spectra, [batch, positions, ...] each."""
        product = left * right
        sketches: Tensor = torch.fft.irfft(
            product.squeeze(1) if product.shape[1] == 1 else product.sum(1), self.size
        )
        return sketches


def full(x: Tensor) -> Tensor:
    """Return x in float32 where it is in 16 bits: there is no Fourier transform of these."""
    return x.float() if x.itemsize < 4 else x


def fold(x: Tensor, size: int) -> Tensor:
    """Return x [..., any] with every entry added to that `size` places before, [..., size] or shorter."""
    if x.shape[-1] <= size:
        return x
    padded = F.pad(x, (0, -x.shape[-1] % size))
    folded: Tensor = padded.unflatten(-1, (-1, size)).sum(-2)
    return folded


def _add_shifted(x: Tensor, step: int, size: int) -> Tensor:
    """Return z with z_k = Σ x[j, i] over all j, i with j · step + i = k modulo size.

    Args:
        x: [batch, groups, any].
        step: How much further each group is shifted than the one before.
        size: Length of z.

    Returns:
        [batch, size].
    """
    batch, groups, width = x.shape
    # a few neighbors first, and then their sums: all at once, most of what is read would be zeros
    block = min(groups, max(NEIGHBORING_ROWS, width // (step * NEIGHBORING_ROWS)))
    length = width + (block - 1) * step
    padded = F.pad(x, (0, length - width, 0, -groups % block))
    # seen with rows that are shorter by a step, each row begins a step to the left of that before; what it
    # shows of the end of that before are zeros
    blocks = padded.shape[1] // block
    strides = padded.stride(0), block * length, length - step, 1
    shifted = padded.as_strided((batch, blocks, block, length), strides).sum(2)
    if blocks > 1:
        return _add_shifted(shifted, step * block, size)
    folded: Tensor = F.pad(shifted[:, 0], (0, -length % size)).unflatten(1, (-1, size)).sum(1)
    return folded


def _signs(count: int, seed: str, like: Tensor) -> Tensor:
    """Return random signs, [count], equal on every device."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    signs: Tensor = torch.randint(0, 2, (count,), generator=generator, dtype=torch.int8) * 2 - 1
    return signs.to(full(like))


def _transformable(size: int) -> int:
    """Return the largest odd number up to `size` that is small or has only small prime factors."""
    for candidate in range(size - 1 + size % 2, SMALL_SKETCH, -2):
        rest = candidate
        for factor in range(3, LARGEST_PRIME_FACTOR + 1, 2):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return candidate
    return min(size - 1 + size % 2, SMALL_SKETCH)


def _group(rows: int, most: int) -> int:
    """Return how many rows to add up for at most `most` groups: if near, so many that no row is left over."""
    least = max(1, -(-rows // max(1, most)))
    return next((group for group in range(least, least * 3 // 2 + 1) if rows % group == 0), least)


def _kept(shape: torch.Size, numbers: int) -> int:
    """Return how many numbers are kept of a parameter, given how many a weight is worth."""
    if len(shape) <= 1:
        return -(-shape.numel() // _group(shape.numel(), max(1, numbers // WEIGHT_TO_VECTOR_RATIO)))
    return shape.numel() if shape.numel() <= numbers else _transformable(numbers)


def _sizes(shapes: list[torch.Size], budget: int) -> list[int]:
    """Return how many numbers each parameter keeps, at most `budget` together, but at least one each."""
    low = 1
    high = max(1, budget)
    while low < high:
        numbers = (low + high + 1) // 2
        if sum(_kept(shape, numbers) for shape in shapes) > budget:
            high = numbers - 1
        else:
            low = numbers
    return [_kept(shape, low) for shape in shapes]


def make_projections(parameters: Mapping[str, Tensor], budget: int, seed: int) -> dict[str, Projection]:
    """Return a projection for each parameter.

    Args:
        parameters: Name → parameter.
        budget: Numbers to keep per sample, over all parameters; every parameter keeps at least one.
        seed: Seed of the signs; with the parameter's name it fixes them.

    Returns:
        Name → projection, in the order of `parameters`.
    """
    sizes = _sizes([parameter.shape for parameter in parameters.values()], budget)
    return {
        name: _projection(name, parameter, size, seed)
        for (name, parameter), size in zip(parameters.items(), sizes, strict=True)
    }


def _projection(name: str, parameter: Tensor, size: int, seed: int) -> Projection:
    rows, columns = (parameter.shape[0], parameter.shape[1:].numel()) if parameter.ndim else (1, 1)
    row_signs = _signs(rows, f"{seed}/rows/{name}", parameter)
    column_signs = _signs(columns, f"{seed}/columns/{name}", parameter)
    group = _group(rows, size)
    step = max(1, size // -(-rows // group))
    return Projection(size, row_signs, column_signs, group, step)
