"""Layer inputs of each sample, hashed to a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.arrays import allocate, release
from cohaudit.gradients.tracing.intercept import Call


class FeatureHasher:
    """Shortens vectors such that their inner products are preserved on average.

    A count sketch (Charikar, Chen & Farach-Colton, ICALP 2002): each number gets a random sign and is added
    to one of a few buckets, its position modulo a prime. A prime shares no factor with the width of an image,
    so that a column or a channel is not added up within itself.

    Args:
        size: Largest length of a result; shorter vectors are returned whole.
        seed: Seed of the signs.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._signs: dict[int, Tensor] = {}

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows [batch, any] as a copy, [batch, at most size]."""
        width = rows.shape[1]
        if width <= self._size:
            return rows.clone()
        # no prime is left at a size of 1: then all numbers share one bucket
        buckets = next(n for n in range(self._size, 0, -1) if _is_prime(n) or n == 1)
        if width not in self._signs:
            # on the CPU, so that the signs are the same on every device
            generator = torch.Generator().manual_seed(self._seed)
            self._signs[width] = (torch.randint(0, 2, (width,), generator=generator) * 2 - 1).to(rows)
        signed = torch.nn.functional.pad(rows * self._signs[width], (0, -width % buckets))
        return signed.view(len(rows), -1, buckets).sum(1)


def averaged(x: Tensor, made: Call) -> Tensor:
    """Return the input of a call, [samples, ...], as one vector per sample.

    Positions are averaged. In the input of a convolution or of a norm per channel they are the dimensions
    after the channels; in any other input, those between batch and features.
    """
    name = getattr(made.function, "__name__", "")
    if x.ndim <= 2:
        return x if x.ndim == 2 else x[:, None]
    if "conv" in name or name in {"batch_norm", "group_norm", "instance_norm"}:
        return x.flatten(2).mean(2)
    return x.reshape(len(x), -1, x.shape[-1]).mean(1)


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))


@dataclass(frozen=True)
class View:
    """A layer's input for every sample.

    Attributes:
        layer: Layer name.
        averaged: Whether it is averaged over positions (pixels, words).
        rows: float32 [samples, any].
    """

    layer: str
    averaged: bool
    rows: NDArray[np.float32]


class ViewShape(NamedTuple):
    """What is needed to allocate a view again.

    Attributes:
        layer: Layer name.
        averaged: Whether it is averaged over positions.
        width: Numbers per sample; None where they differ between batches and nothing is stored.
    """

    layer: str
    averaged: bool
    width: int | None


class Views:
    """Collects views batch by batch.

    Args:
        samples: Number of samples, N.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._rows: dict[tuple[str, bool], NDArray[np.float32] | None] = {}

    def store(self, indices: NDArray[np.int64], layer: str, inputs: tuple[Tensor, ...]) -> None:
        """Store a layer's input for some samples.

        Args:
            indices: Indices of the samples.
            layer: Layer name.
            inputs: The input whole, and, where it has positions, averaged over them, [samples, any] each.
        """
        for averaged, part in zip((False, True), inputs, strict=False):
            # float32 is enough: views are compared by cosines, and the hash's own error is larger
            rows = part.float().cpu().numpy()
            key = layer, averaged
            if key not in self._rows:
                self._rows[key] = self._blank(rows.shape[1])
            stored = self._rows[key]
            if stored is None or stored.shape[1] != rows.shape[1]:
                self._rows[key] = None  # as long as the sentences of its batch: not comparable
            else:
                stored[indices] = rows
                release(stored)

    def _blank(self, width: int) -> NDArray[np.float32]:
        return allocate(self._samples, width, f"what a layer sees of {self._samples:,} samples")

    def shapes(self) -> tuple[ViewShape, ...]:
        """Return the shapes of the views, in the order of the layers."""
        return tuple(
            ViewShape(layer, averaged, None if rows is None else rows.shape[1])
            for (layer, averaged), rows in self._rows.items()
        )

    def allocate(self, shapes: Iterable[ViewShape]) -> None:
        """Allocate views of these shapes, filled with zeros, before any is stored."""
        for layer, averaged, width in shapes:
            self._rows[layer, averaged] = None if width is None else self._blank(width)

    def fold(
        self,
        indices: NDArray[np.int64],
        shapes: Iterable[ViewShape],
        views: Iterable[NDArray[np.float32] | None],
    ) -> None:
        """Store the views of some samples that were collected alone.

        Args:
            indices: Indices of the samples.
            shapes: `shapes` of what was collected.
            views: Rows of each view, [samples, width]; None if nothing is stored of it.

        Raises:
            ValueError: If rows are missing, or more or fewer than the samples.
        """
        for (layer, averaged, width), rows in zip(shapes, views, strict=True):
            key = layer, averaged
            if width is None:
                self._rows[key] = None
                continue
            if rows is None or rows.shape != (len(indices), width):
                raise ValueError(f"the view of {layer} has other rows")
            stored = self._rows.setdefault(key, np.zeros((self._samples, width), dtype=np.float32))
            if stored is None or stored.shape[1] != width:
                self._rows[key] = None
            else:
                stored[indices] = rows

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return name → rows of every sample; the names are the prefix and a number."""
        return {f"{prefix}-{k}": rows for k, rows in enumerate(self._rows.values()) if rows is not None}

    def finished(self) -> tuple[View, ...]:
        """Return the views, in the order of the layers."""
        return tuple(
            View(layer, averaged, rows) for (layer, averaged), rows in self._rows.items() if rows is not None
        )
