"""What layers see of each sample, kept in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.tracing.intercept import Call


class FeatureHasher:
    """Makes vectors shorter, such that their inner products stay what they are on average.

    A count sketch (Charikar, Chen & Farach-Colton, ICALP 2002): every number gets a random sign and is added
    to one of a few others. Which one is its place modulo a prime, so that rows, columns and channels of an
    image do not all meet their own kind.

    Args:
        size: Most numbers kept of a vector; shorter ones are kept whole.
        seed: Of the signs.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._signs: dict[int, Tensor] = {}

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows [batch, any] as [batch, at most size], in memory of their own."""
        width = rows.shape[1]
        if width <= self._size:
            return rows.clone()
        buckets = next(n for n in range(self._size, 0, -1) if _is_prime(n) or n == 1)
        if width not in self._signs:
            generator = torch.Generator().manual_seed(self._seed)
            self._signs[width] = (torch.randint(0, 2, (width,), generator=generator) * 2 - 1).to(rows)
        signed = torch.nn.functional.pad(rows * self._signs[width], (0, -width % buckets))
        return signed.view(len(rows), -1, buckets).sum(1)


def averaged(x: Tensor, made: Call) -> Tensor:
    """Return the input of a call, [samples, ...], as one vector per sample.

    Positions are averaged: they trail behind the channels of a convolution or a norm per channel, and
    stand in the middle of any other input.
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
    """How a layer sees the samples.

    Attributes:
        layer: Its name.
        averaged: Whether positions (pixels, words) are averaged, rather than kept apart.
        rows: float32 [samples, any].
    """

    layer: str
    averaged: bool
    rows: NDArray[np.float32]


class Views:
    """Collects views batch by batch.

    Args:
        samples: N.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._rows: dict[tuple[str, bool], NDArray[np.float32] | None] = {}

    def keep(self, indices: NDArray[np.int64], layer: str, found: tuple[Tensor, ...]) -> None:
        """Keep what a layer sees of some samples: whole, and averaged over positions where it has some."""
        for averaged, part in zip((False, True), found, strict=False):
            rows = part.float().cpu().numpy()
            key = layer, averaged
            if key not in self._rows:
                self._rows[key] = np.zeros((self._samples, rows.shape[1]), dtype=np.float32)
            kept = self._rows[key]
            if kept is None or kept.shape[1] != rows.shape[1]:
                self._rows[key] = None  # as long as the sentences of its batch: not comparable
            else:
                kept[indices] = rows

    @property
    def widths(self) -> list[tuple[str, bool, int | None]]:
        """Layer, whether averaged, and numbers per sample, None for what is not comparable; in order."""
        return [(*key, None if rows is None else rows.shape[1]) for key, rows in self._rows.items()]

    @widths.setter
    def widths(self, widths: Sequence[tuple[str, bool, int | None]]) -> None:
        for layer, averaged, width in widths:
            rows = None if width is None else np.zeros((self._samples, width), dtype=np.float32)
            self._rows[layer, averaged] = rows

    def arrays(self, called: str) -> dict[str, NDArray[np.float32]]:
        """Return name → rows of every sample, to be kept or filled in."""
        return {f"{called}-{k}": rows for k, rows in enumerate(self._rows.values()) if rows is not None}

    def finished(self) -> tuple[View, ...]:
        """Return the views, in the order of the layers."""
        return tuple(View(*key, rows) for key, rows in self._rows.items() if rows is not None)
