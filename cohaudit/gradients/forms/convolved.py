"""Per-sample gradients of a convolution's weight, without unfolding its input where possible.

Unfolding (im2col) turns the convolution into a linear map of patches, but writes each pixel once per entry of
the kernel. Norms can be computed from Gram matrices over positions instead, which is cheaper if the weight is
large compared with positions². Bu, Mao & Xu (NeurIPS 2022, arXiv 2205.10683) choose the same way, per layer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as nn_grad

from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.sketch import Projection, full

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_WEIGHT_GRADIENT = {1: nn_grad.conv1d_weight, 2: nn_grad.conv2d_weight, 3: nn_grad.conv3d_weight}

LIBRARY_KERNEL_PRODUCTS = 2_000_000
"""From this many products per sample on, the CPU library's kernel, called once per sample, is faster than
unfolding."""

GRAM_FACTOR = 8
"""Norms are computed from Gram matrices if this times positions² is at most the number of the weight's
entries. Otherwise forming each sample's gradient is faster. Measured on ResNet-18 of width 32 and 64."""

ROW_PRODUCT_POSITIONS = 512
"""Up to this many positions, matrix products over an input unfolded along its width are faster than the
library's kernel."""


@dataclass(frozen=True)
class Convolved:
    """Gradients of a convolution, G_i = Σ_t b_t patch_tᵀ over the output positions t, per group.

    Attributes:
        b: Gradients at the output, [batch, out, *positions].
        x: The input, [batch, in, *pixels].
        shape: Shape of the weight, [out, in / groups, *kernel].
        stride: Stride per dimension.
        padding: Zeros on either side, per dimension.
        dilation: Dilation per dimension.
        groups: Number of groups.
    """

    b: Tensor
    x: Tensor
    shape: torch.Size
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def rows(self, start: int, stop: int) -> Convolved:
        """Return the samples start..stop-1."""
        b = self.b[start:stop]
        x = self.x[start:stop]
        return Convolved(b, x, self.shape, self.stride, self.padding, self.dilation, self.groups)

    @property
    def _kernel(self) -> tuple[int, ...]:
        return tuple(self.shape[2:])

    def _padded(self) -> Tensor:
        """Return the input with its padding, [batch, in, *pixels]."""
        # reversed: F.pad takes the last dimension first
        return F.pad(self.x, [p for p in reversed(self.padding) for _ in range(2)])

    def _patches(self) -> Tensor:
        """Return the patch of each output position, [batch, groups, in / groups × kernel, positions]."""
        x = self._padded()
        for axis, (kernel, stride, dilation) in enumerate(
            zip(self._kernel, self.stride, self.dilation, strict=True)
        ):
            x = x.unfold(2 + axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
        dims = len(self._kernel)
        # [batch, channels, *positions, *kernel] → [batch, channels, *kernel, *positions]
        x = x.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
        return x.reshape(len(x), self.groups, -1, self.b.shape[2:].numel())

    def _grouped(self) -> Tensor:
        """Return b as [batch, groups, out / groups, positions]."""
        return self.b.reshape(len(self.b), self.groups, self.shape[0] // self.groups, -1)

    def squared_norms(self) -> Tensor:
        """Return ‖G_i‖² = Σ_tu ⟨patch_t, patch_u⟩⟨b_t, b_u⟩, [batch], summed over the groups."""
        b = self._grouped()
        return (self._patch_gram() * (b.mT @ b)).sum((1, 2, 3))

    def _patch_gram(self) -> Tensor:
        """Return ⟨patch_t, patch_u⟩, [batch, groups, positions, positions].

        The product of two patches is a sum over the kernel of products of pixels. So the Gram matrix of the
        pixels, shifted by each offset and added up, needs no unfolded input. With a stride most of its
        entries would not be used; then patches are multiplied.
        """
        x = self._padded()
        positions = self.b.shape[2:]
        pixels = x.shape[2:]
        # compares the number of products of both ways
        if pixels.numel() ** 2 > prod(self._kernel) * positions.numel() ** 2:
            patches = self._patches()
            return patches.mT @ patches
        x = x.reshape(len(x), self.groups, -1, pixels.numel())
        gram = (x.mT @ x).reshape(len(x), self.groups, *pixels, *pixels)
        total = gram.new_zeros(len(x), self.groups, *positions, *positions)
        for offsets in itertools.product(*(range(k) for k in self._kernel)):
            window = tuple(
                slice(o * d, o * d + (n - 1) * s + 1, s)
                for o, d, s, n in zip(offsets, self.dilation, self.stride, positions, strict=True)
            )
            total += gram[(slice(None), slice(None), *window, *window)]
        return total.reshape(len(x), self.groups, positions.numel(), positions.numel())

    def _weight_gradient(self, b: Tensor, x: Tensor) -> Tensor:
        """Return Σ_i G_i by torch's kernel for the weight's gradient."""
        kernel: Any = _WEIGHT_GRADIENT[len(self._kernel)]
        total: Tensor = kernel(x, self.shape, b, self.stride, self.padding, self.dilation, self.groups)
        return total

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return Σ_i w_i G_i for weights [batch], shaped like the weight."""
        # linear in b, which is much smaller than the gradients
        scaled = self.b * weights.to(self.b.dtype).reshape(-1, *[1] * (self.b.ndim - 1))
        return self._weight_gradient(scaled, self.x)

    def _convolve(self, weight: Tensor) -> Tensor:
        """Return the input convolved with a weight, [batch, filters, *positions]."""
        return _FORWARD[len(self._kernel)](
            self.x, weight, None, self.stride, self.padding, self.dilation, self.groups
        )

    def dot(self, direction: Tensor) -> Tensor:
        """Return ⟨G_i, direction⟩, [batch]: the product of b with the input convolved with the direction."""
        return (self._convolve(direction) * self.b).flatten(1).sum(1)

    def sketch(self, projection: Projection) -> Tensor:
        """Return the sketch of each G_i, [batch, projection.size].

        The spectrum of a patch is a linear map of it, so that convolving the input with the spectra of
        one-hot patches as filters gives all of them without unfolding.
        """
        if self.groups > 1 or projection.keeps_all:
            return self.dense().sketch(projection)
        # real and imaginary part as two filters: a complex convolution would cost twice as much
        filters = torch.view_as_real(projection.right_of_each()).flatten(1).mT
        seen = full(self._convolve(filters.reshape(-1, *self.shape[1:]).to(self.x))).flatten(2).mT
        right = torch.view_as_complex(seen.unflatten(2, (-1, 2)).contiguous())
        return projection.from_spectra(projection.left(self.b.flatten(2).mT), right)

    def dense(self, buffer: Tensor | None = None) -> Dense:
        """Return the gradients themselves, [batch, *weight shape], in a flat buffer if one is given."""
        shape = len(self.b), *self.shape
        out = None if buffer is None else buffer[: prod(shape)].view(shape)
        products = self.b.shape[2:].numel() * self.shape.numel()
        if (
            self.b.device.type == "cpu"
            and self.b.dtype == torch.float32
            and products >= LIBRARY_KERNEL_PRODUCTS
        ):
            if self._is_plain and self.b.shape[2:].numel() <= ROW_PRODUCT_POSITIONS:
                return Dense(torch.stack(self._by_rows(), 3, out=out))
            each = zip(self.b.split(1), self.x.split(1), strict=True)
            return Dense(torch.stack([self._weight_gradient(b, x) for b, x in each], out=out))
        return Dense((self._grouped() @ self._patches().mT).reshape(shape))

    @property
    def _is_plain(self) -> bool:
        """Whether it is two-dimensional, without groups, stride and dilation."""
        return len(self._kernel) == 2 and self.groups == 1 and {*self.stride, *self.dilation} == {1}

    def _by_rows(self) -> list[Tensor]:
        """Return the gradients of each row of the kernel, [batch, out, in, kernel columns].

        The input is unfolded along its width alone. A row of the kernel is then an offset into the result,
        because a shift by one line of pixels is a shift by `width` positions.
        """
        x = self._padded()
        (rows, columns) = self._kernel
        (height, width) = self.b.shape[2:]
        # a copy per column of the kernel, where full unfolding makes one per entry
        shifted = torch.stack([x[..., j : j + width] for j in range(columns)], 2).flatten(1, 2).flatten(2)
        b = self.b.flatten(2)
        size = height * width
        each = (b @ shifted[:, :, i * width : i * width + size].mT for i in range(rows))
        return [gradient.unflatten(2, (-1, columns)) for gradient in each]

    @property
    def sparse(self) -> bool:
        """Whether the form costs less than whole gradients; see `GRAM_FACTOR`."""
        return GRAM_FACTOR * self.b.shape[2:].numel() ** 2 <= self.shape.numel()
