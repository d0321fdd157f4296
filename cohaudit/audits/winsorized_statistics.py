"""What robust averages of the samples' gradients make of the step: how much survives, and whose it is.

Winsorized mean (Chatterjee, ICLR 2020, arXiv 2002.10657): each coordinate is clipped across the samples to
its k-th smallest and largest value but k, k = ⌊c · N⌋, and then averaged. Median of three, M3 (Zielinski,
Krishnan & Chatterjee, arXiv 2003.07422): coordinatewise, of the means of three groups of the samples.

Arrays: N samples, K coordinates of a layer; the coordinates may be a sample of the layer's, drawn evenly, and
then the figures have intervals. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Estimate

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

CLIPS = (0.01, 0.04)
"""Shares of the samples that are clipped on each side."""
GROUPS = 3
"""Means of which the median is taken."""
MAX_COORDINATES_PER_LAYER = 2000
"""Coordinates of a layer that are looked at; of fewer, all."""
BYTES_PER_BLOCK = 16 * 2**20
"""Bytes of gradients that are sorted at once."""
RESAMPLES = 200
"""Of the coordinates, for the intervals."""
TAIL = 0.05
"""Share of the resamples beyond each end of an interval."""
SMALLEST_NORMAL = float(np.finfo(float).tiny)


def allowance(sizes: Sequence[int], total: int) -> int:
    """Return how many coordinates a layer may have so that all layers have at most `total`, or one each.

    Args:
        sizes: Parameters of each layer; a small one leaves the rest of its share to the others.
        total: Coordinates of all layers together.
    """
    for k, size in enumerate(sorted(sizes)):
        share = total // (len(sizes) - k)
        if size > share:
            return max(1, min(share, MAX_COORDINATES_PER_LAYER))
        total -= size
    return MAX_COORDINATES_PER_LAYER


def choose_coordinates(
    sizes: Mapping[str, int], layer_of: Mapping[str, str], most: int, seed: int
) -> dict[str, Indices]:
    """Draw up to so many coordinates of each layer, all alike, without repeats.

    Args:
        sizes: Name of a parameter → its number of entries.
        layer_of: Name of a parameter → that of its layer.
        most: Coordinates of a layer.
        seed: Of the draw.

    Returns:
        Name of a parameter → places in it, rising, int64.
    """
    generator = np.random.default_rng(seed)
    layers: dict[str, list[str]] = {}
    for name in sizes:
        layers.setdefault(layer_of[name], []).append(name)
    found = {}
    for names in layers.values():
        starts = np.cumsum([0, *(sizes[name] for name in names)])
        total = int(starts[-1])
        drawn = np.arange(total) if total <= most else np.sort(generator.permutation(total)[:most])
        for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
            found[name] = drawn[(drawn >= start) & (drawn < stop)] - start
    return found


@dataclass(frozen=True)
class Averages:
    """The averages in some coordinates, and what goes into them; A winsorized means, S sets of samples.

    Attributes:
        mean: μ, [K].
        winsorized: A means, [A, K].
        median: Of three, [K].
        parts: Σ over the samples of a set, of the gradients and of each winsorized form of them,
            [1 + A, S, K].
        clipped: Of each sample, its energy in coordinates that were clipped, [A, N].
        energy: In all these coordinates, [N].
    """

    mean: Array
    winsorized: Array
    median: Array
    parts: Array
    clipped: Array
    energy: Array


def averages(gradients: Array, sets: Flags, thirds: Indices, clips: Sequence[float] = CLIPS) -> Averages:
    """Return the robust averages of some coordinates.

    Args:
        gradients: Of all samples, [N, K].
        sets: Which samples are in which set, [S, N].
        thirds: The group of each sample for the median, 0 to 2, [N].
        clips: Shares of the samples that are clipped on each side, each in [0, 0.5).
    """
    columns = np.ascontiguousarray(gradients.T)  # a coordinate's samples side by side
    count = columns.shape[1]
    sides = [int(clip * count) for clip in clips]
    ordered = np.partition(columns, sorted({k for side in sides for k in (side, count - 1 - side)}), axis=1)
    squares = np.square(columns)
    members = sets.astype(float)
    means = []
    parts = [members @ columns.T]
    outside = []
    for side in sides:
        low = ordered[:, [side]]
        high = ordered[:, [count - 1 - side]]
        kept = np.clip(columns, low, high)
        means.append(kept.mean(1))
        parts.append(members @ kept.T)
        outside.append(np.where(kept != columns, squares, 0).sum(0))
    groups = [columns[:, thirds == third].mean(1) for third in range(GROUPS)]
    return Averages(
        columns.mean(1),
        np.array(means),
        np.median(groups, axis=0),
        np.array(parts),
        np.array(outside),
        squares.sum(0),
    )


def blocks(coordinates: int, samples: int) -> Iterator[slice]:
    """Cut coordinates into parts of which the gradients of all samples fit `BYTES_PER_BLOCK`."""
    step = max(1, BYTES_PER_BLOCK // (8 * max(1, samples)))
    for start in range(0, coordinates, step):
        yield slice(start, min(start + step, coordinates))


def groups_of_three(samples: int, seed: int) -> Indices:
    """Divide the samples at random into three groups of even size, [N]."""
    found: Indices = np.random.default_rng(seed).permutation(samples) % GROUPS
    return found


@dataclass(frozen=True)
class CoordinateSample:
    """What was computed of one layer.

    Attributes:
        size: Coordinates that the layer has.
        found: In those that were looked at, block by block.
    """

    size: int
    found: Sequence[Averages]

    @property
    def looked_at(self) -> int:
        """How many were looked at."""
        return sum(len(one.mean) for one in self.found)

    @property
    def weight(self) -> float:
        """How many coordinates one that was looked at stands for."""
        return self.size / self.looked_at


class Totals:
    """Sums of products over the coordinates of some layers, from which every figure is a ratio.

    Args:
        layers: Of which.
        samples: N.
        seed: Of the resamples.
    """

    def __init__(self, layers: Sequence[CoordinateSample], samples: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        drawn = [self._layer(layer, samples, generator) for layer in layers]
        self._values = np.sum(drawn, axis=0)

    @staticmethod
    def _layer(layer: CoordinateSample, samples: int, generator: np.random.Generator) -> Array:
        """Return the layer's sums, and behind them those of its resamples; shaped as `estimate` has it."""
        products = np.concatenate([_products(one, samples) for one in layer.found], axis=2)
        looked_at = products.shape[2]
        value = products.sum(2)[:, :, None] * layer.weight
        if looked_at == layer.size:
            return np.tile(value, 1 + RESAMPLES)
        counts = generator.multinomial(looked_at, np.full(looked_at, 1 / looked_at), size=RESAMPLES)
        again = products @ counts.T * layer.weight
        # drawn without repeats out of finitely many
        again = value + np.sqrt(1 - looked_at / layer.size) * (again - value)
        return np.concatenate([value, again], axis=2)

    def estimate(self, ratio: Callable[[Array], Array]) -> Estimate:
        """Return a ratio with its interval.

        Args:
            ratio: Sums of `_products`, [2 + A, 2 + S, any] → [any].
        """
        found = ratio(self._values)
        low, high = np.quantile(found[1:], (TAIL, 1 - TAIL))
        value = float(found[0])
        return Estimate(value, min(value, float(low)), max(value, float(high)))


def _products(one: Averages, samples: int) -> Array:
    """Return, of each coordinate, the products behind every ratio, [2 + A, 2 + S, K].

    For μ, each winsorized mean and the median, r: r², rμ, and for each set S of samples Σ_{i in S} g_i r / N.
    A median is no sum over samples: it has zeros there.
    """
    kinds = (one.mean, *one.winsorized, one.median)
    parts = (*one.parts, np.zeros_like(one.parts[0]))
    return np.array(
        [
            [r * r, r * one.mean, *(part * r / samples for part in own)]
            for r, own in zip(kinds, parts, strict=True)
        ]
    )


def kept(which: int) -> Callable[[Array], Array]:
    """Return the ratio ‖r‖ / ‖μ‖ of the average of that number; 0 is μ itself."""
    return lambda sums: np.sqrt(sums[which, 0] / np.maximum(sums[0, 0], SMALLEST_NORMAL))


def cosine(which: int) -> Callable[[Array], Array]:
    """Return the ratio ⟨r, μ⟩ / ‖r‖‖μ‖; 0 where nothing is left."""
    return lambda sums: sums[which, 1] / np.sqrt(np.maximum(sums[which, 0] * sums[0, 0], SMALLEST_NORMAL))


def share_of_step(which: int, members: int) -> Callable[[Array], Array]:
    """Return the ratio Σ_{i in S} ⟨g_i, r⟩ / Σ_i ⟨g_i, r⟩, g_i as they go into r; the latter sum is N‖r‖².

    The shares of arXiv 2203.10036, of pristine and corrupt labels; below 0 where the samples of the set pull
    against the step.
    """
    return lambda sums: sums[which, 2 + members] / np.maximum(sums[which, 0], SMALLEST_NORMAL)


def clipped_shares(layers: Sequence[CoordinateSample]) -> Array:
    """Return, for each clip, the share of a sample's energy in coordinates where it was clipped, [A, N]."""
    outside = sum(layer.weight * one.clipped for layer in layers for one in layer.found)
    energy = sum(layer.weight * one.energy for layer in layers for one in layer.found)
    found: Array = np.asarray(outside) / np.maximum(energy, SMALLEST_NORMAL)
    return found
