"""Sketches: short random projections of per-sample gradients that keep cosines.

A weight's gradient G [rows, columns] becomes m numbers: entry (r, c) is added, with a random sign, to number
(h(r) + c) mod m. The sign is a product of one per row and one per column. So the sketch of an outer product b
aᵀ is the circular convolution of two short vectors, one made of b and one of a (TensorSketch; Pham and Pagh,
KDD 2013), and G_i = Σ_t b_t a_tᵀ need not be formed. A parameter with at most m entries is stored whole. The
map is linear: the sketch of a sum of gradients is the sum of their sketches.

The standard error of a cosine between two sketches is about 1/√m. Two-sided projections P_outᵀ G P_in of m
numbers cost the same, but their error is 1/√√m if all samples share an activation: docs/sketches.md.
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
    """The random map of one parameter, as a matrix [rows, columns].

    A *spectrum* is a discrete Fourier transform, [..., size // 2 + 1] complex: the spectrum of a circular
    convolution is the product of spectra.

    Attributes:
        size: Numbers per sample; as many as the parameter has entries if it is stored whole.
        row_signs: Sign of each row, [rows].
        column_signs: Sign of each column, [columns].
        group: Number of adjacent rows that are added up first, with their signs.
        step: Numbers by which each group is shifted relative to the group before.
    """

    size: int
    row_signs: Tensor
    column_signs: Tensor
    group: int
    step: int

    @property
    def keeps_all(self) -> bool:
        """Whether the parameter is stored whole."""
        return self.size == len(self.row_signs) * len(self.column_signs)

    def of_whole(self, gradients: Tensor) -> Tensor:
        """Return the sketches of whole gradients, [batch, *shape] → [batch, size]; they share no memory.

        The gradients are read once; intermediate results are smaller by the size of a group.
        """
        matrices = full(gradients).reshape(len(gradients), len(self.row_signs), -1)
        # a copy, because the gradients may lie in a buffer that is used again
        if self.keeps_all:
            return matrices.flatten(1).clone()
        return self._add_columns(self._add_rows(matrices, self.row_signs) * self.column_signs)

    def sign(self, gradient: Tensor) -> Tensor:
        """Return a gradient [rows, columns] times the signs of rows and columns; twice gives it back."""
        signs = self.row_signs[:, None] * self.column_signs
        return gradient * signs.to(gradient.dtype)

    def of_signed(self, gradients: Tensor) -> Tensor:
        """Return the sketches of gradients that are already multiplied by the signs; see `of_whole`."""
        matrices = full(gradients).reshape(len(gradients), len(self.row_signs), -1)
        return self._add_columns(self._add_rows(matrices, None))

    def _add_rows(self, matrices: Tensor, signs: Tensor | None) -> Tensor:
        """Return the sum of each group of rows, [batch, rows, any] → [batch, groups, any]."""
        if self.group == 1:
            return matrices if signs is None else matrices * signs[:, None]
        if signs is None:
            signs = torch.ones_like(self.row_signs)
        # as a matrix product, which multiplies by the signs and adds in one reading of the gradients
        even = len(signs) // self.group * self.group
        whole = matrices[:, :even].unflatten(1, (-1, self.group))
        sums: Tensor = (signs[:even].view(-1, 1, self.group) @ whole).squeeze(2)
        if even == len(signs):
            return sums
        rest: Tensor = signs[even:] @ matrices[:, even:]
        return torch.cat([sums, rest[:, None]], 1)

    def _add_columns(self, rows: Tensor) -> Tensor:
        """Return signed groups of rows, [batch, groups, columns], shifted and added up, [batch, size]."""
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
        """Return the sketches of gradients with a few nonzero rows, [batch, size].

        Args:
            index: Row of each position, [batch, positions].
            b: Gradient at each position, [batch, positions, columns].
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
        # columns with the same position modulo the size have the same spectrum, up to the sign
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
        # positions are added up before the inverse transform: one per sample instead of one per position
        sketches: Tensor = torch.fft.irfft(
            product.squeeze(1) if product.shape[1] == 1 else product.sum(1), self.size
        )
        return sketches


def full(x: Tensor) -> Tensor:
    """Return x in float32 if it has 16 bits: torch has no Fourier transform of such numbers."""
    return x.float() if x.itemsize < 4 else x


def fold(x: Tensor, size: int) -> Tensor:
    """Return the sums of entries of x [..., any] at equal positions modulo `size`, [..., size] or shorter."""
    if x.shape[-1] <= size:
        return x
    padded = F.pad(x, (0, -x.shape[-1] % size))
    folded: Tensor = padded.unflatten(-1, (-1, size)).sum(-2)
    return folded


def _add_shifted(x: Tensor, step: int, size: int) -> Tensor:
    """Return z with z_k = Σ x[j, i] over all j, i with j · step + i = k modulo size.

    Args:
        x: [batch, groups, any].
        step: Numbers by which each group is shifted relative to the group before.
        size: Length of z.

    Returns:
        [batch, size].
    """
    batch, groups, width = x.shape
    # a few neighboring groups first, then their sums: padding all of them to full length would read mostly
    # zeros
    block = min(groups, max(NEIGHBORING_ROWS, width // (step * NEIGHBORING_ROWS)))
    length = width + (block - 1) * step
    padded = F.pad(x, (0, length - width, 0, -groups % block))
    # As a view with rows that are shorter by a step, each row begins a step to the left of the row before,
    # which shifts it without a copy. At its left it shows the end of the row before, which is padding.
    blocks = padded.shape[1] // block
    strides = padded.stride(0), block * length, length - step, 1
    shifted = padded.as_strided((batch, blocks, block, length), strides).sum(2)
    if blocks > 1:
        return _add_shifted(shifted, step * block, size)
    folded: Tensor = F.pad(shifted[:, 0], (0, -length % size)).unflatten(1, (-1, size)).sum(1)
    return folded


def _signs(count: int, seed: str, like: Tensor) -> Tensor:
    """Return random signs, [count], the same on every device and in every process."""
    # crc32 rather than hash(): Python salts the hash of a string in every process
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    signs: Tensor = torch.randint(0, 2, (count,), generator=generator, dtype=torch.int8) * 2 - 1
    return signs.to(full(like))


def _transformable(size: int) -> int:
    """Return the largest odd number up to `size` that is small or has only small prime factors.

    With an even length, some collisions of entries come in pairs.
    """
    for candidate in range(size - 1 + size % 2, SMALL_SKETCH, -2):
        rest = candidate
        for factor in range(3, LARGEST_PRIME_FACTOR + 1, 2):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return candidate
    return min(size - 1 + size % 2, SMALL_SKETCH)


def _group(rows: int, max_groups: int) -> int:
    """Return how many rows to add up for at most `max_groups` groups.

    Up to half as many more are accepted if no row is left over then: the rest would need an operation of its
    own.
    """
    least = max(1, -(-rows // max(1, max_groups)))
    return next((group for group in range(least, least * 3 // 2 + 1) if rows % group == 0), least)


def _size(shape: torch.Size, numbers: int) -> int:
    """Return the length of a parameter's sketch, given how many numbers a weight matrix gets."""
    if len(shape) <= 1:
        return -(-shape.numel() // _group(shape.numel(), max(1, numbers // WEIGHT_TO_VECTOR_RATIO)))
    return shape.numel() if shape.numel() <= numbers else _transformable(numbers)


def _sizes(shapes: list[torch.Size], budget: int) -> list[int]:
    """Return the length of each parameter's sketch, at most `budget` together, but at least one each."""
    # the sum grows with the numbers per weight: search by bisection for the most that the budget allows
    low = 1
    high = max(1, budget)
    while low < high:
        numbers = (low + high + 1) // 2
        if sum(_size(shape, numbers) for shape in shapes) > budget:
            high = numbers - 1
        else:
            low = numbers
    return [_size(shape, low) for shape in shapes]


def make_projections(parameters: Mapping[str, Tensor], budget: int, seed: int) -> dict[str, Projection]:
    """Return a projection for each parameter.

    Args:
        parameters: Name → parameter.
        budget: Numbers per sample, over all parameters; every parameter gets at least one.
        seed: Seed of the signs, which depend on it and on the parameter's name alone.

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
    # groups are spread evenly over the sketch, so that few of them overlap
    step = max(1, size // -(-rows // group))
    return Projection(size, row_signs, column_signs, group, step)
