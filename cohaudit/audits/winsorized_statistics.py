"""Robust averages of the samples' gradients: how much of the update survives, and which samples own it.

Winsorized mean (Chatterjee, ICLR 2020, arXiv 2002.10657): each coordinate is clipped across the samples to
its (k + 1)-th smallest and largest value, k = ⌊c · N⌋, and then averaged. Median of three, M3 (Zielinski,
Krishnan & Chatterjee, arXiv 2003.07422): coordinatewise, of the means of three groups of the samples.

Arrays: N samples, K coordinates of a layer, A winsorized means, S sets of samples. The coordinates may be a
uniform sample of the layer's; the figures then have intervals. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.precision import SMALLEST_FLOAT64
from cohaudit.gradients.robust import MEDIAN_GROUPS, clipped_count
from cohaudit.results import Estimate

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

CLIPS = (0.01, 0.04)
"""Shares of the samples that are clipped on each side."""

MAX_COORDINATES_PER_LAYER = 2000
"""Coordinates sampled of each layer, at most; a layer with fewer is used whole."""

BYTES_PER_BLOCK = 16 * 2**20
"""Bytes of gradients that are sorted at once."""

RESAMPLES = 200
"""Bootstrap resamples of the coordinates, for the intervals."""

TAIL = 0.05
"""Share of the resamples beyond each end of an interval."""


def allowance(sizes: Sequence[int], total: int) -> int:
    """Return how many coordinates to sample of each layer, so that all have at most `total`, or one each.

    Args:
        sizes: Number of parameters of each layer; small layers leave the rest of their share to the others.
        total: Coordinates of all layers together.
    """
    # smallest first: what each leaves over is known before the next one's share is computed
    for k, size in enumerate(sorted(sizes)):
        share = total // (len(sizes) - k)
        if size > share:
            return max(1, min(share, MAX_COORDINATES_PER_LAYER))
        total -= size
    return MAX_COORDINATES_PER_LAYER


def choose_coordinates(
    sizes: Mapping[str, int], layer_of: Mapping[str, str], most: int, seed: int
) -> dict[str, Indices]:
    """Draw coordinates of each layer uniformly, without repeats.

    Args:
        sizes: Parameter name → number of its entries.
        layer_of: Parameter name → name of its layer.
        most: Coordinates per layer, at most.
        seed: Seed of the draw.

    Returns:
        Parameter name → indices into the flattened parameter, ascending, int64.
    """
    generator = np.random.default_rng(seed)
    layers: dict[str, list[str]] = {}
    for name in sizes:
        layers.setdefault(layer_of[name], []).append(name)
    chosen = {}
    for names in layers.values():
        starts = np.cumsum([0, *(sizes[name] for name in names)])
        total = int(starts[-1])
        drawn = np.arange(total) if total <= most else np.sort(generator.permutation(total)[:most])
        for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
            chosen[name] = drawn[(drawn >= start) & (drawn < stop)] - start
    return chosen


@dataclass(frozen=True)
class Averages:
    """Averages in some coordinates, and what they consist of.

    Attributes:
        mean: μ, [K].
        winsorized: Winsorized means, [A, K].
        median: Median of three, [K].
        parts: Sums over the samples of each set, of the gradients and of their winsorized forms, [1 + A, S,
            K].
        clipped: Energy of each sample in coordinates where it was clipped, [A, N].
        energy: Energy of each sample in all these coordinates, [N].
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
        gradients: Gradients of all samples, [N, K].
        sets: Which samples are in each set, [S, N].
        thirds: Group of each sample for the median, 0 to 2, [N].
        clips: Shares of the samples to clip on each side, each in [0, 0.5).
    """
    columns = np.ascontiguousarray(gradients.T)  # so that the samples of a coordinate are contiguous
    count = columns.shape[1]
    sides = [clipped_count(clip, count) for clip in clips]
    # a partition at the few ranks needed is cheaper than a full sort
    ordered = np.partition(columns, sorted({k for side in sides for k in (side, count - 1 - side)}), axis=1)
    # energies tell which samples are clipped: a share of coordinates would count tiny ones as much
    squares = np.square(columns)
    members = sets.astype(float)
    means = []
    parts = [members @ columns.T]
    outside = []
    for side in sides:
        low = ordered[:, [side]]
        high = ordered[:, [count - 1 - side]]
        clipped = np.clip(columns, low, high)
        means.append(clipped.mean(1))
        parts.append(members @ clipped.T)
        outside.append(np.where(clipped != columns, squares, 0).sum(0))
    groups = [columns[:, thirds == third].mean(1) for third in range(MEDIAN_GROUPS)]
    return Averages(
        columns.mean(1),
        np.array(means),
        np.median(groups, axis=0),
        np.array(parts),
        np.array(outside),
        squares.sum(0),
    )


def blocks(coordinates: int, samples: int) -> Iterator[slice]:
    """Yield slices of the coordinates, such that the gradients of all samples fit `BYTES_PER_BLOCK`."""
    # eight bytes for each sample and coordinate
    step = max(1, BYTES_PER_BLOCK // (8 * max(1, samples)))
    for start in range(0, coordinates, step):
        yield slice(start, min(start + step, coordinates))


def groups_of_three(samples: int, seed: int) -> Indices:
    """Divide the samples at random into three groups of equal size; returns the group of each, [N]."""
    groups: Indices = np.random.default_rng(seed).permutation(samples) % MEDIAN_GROUPS
    return groups


@dataclass(frozen=True)
class CoordinateSample:
    """Averages in the sampled coordinates of one layer.

    Attributes:
        size: Number of coordinates of the layer.
        blocks: Averages in the sampled ones, block by block.
    """

    size: int
    blocks: Sequence[Averages]

    @property
    def sampled(self) -> int:
        """Number of sampled coordinates."""
        return sum(len(one.mean) for one in self.blocks)

    @property
    def weight(self) -> float:
        """Number of coordinates that each sampled one stands for."""
        return self.size / self.sampled


class Totals:
    """Sums of products over the coordinates of some layers; every figure is a ratio of them.

    Args:
        layers: Averages in the coordinates of each layer.
        samples: N.
        seed: Seed of the resampling.
    """

    def __init__(self, layers: Sequence[CoordinateSample], samples: int, seed: int) -> None:
        self._layers = layers
        self._samples = samples
        self._seed = seed

    @cached_property
    def _sums(self) -> Array:
        """Sums, then those of each resample, [2 + A, 2 + S, 1 + RESAMPLES]."""
        generator = np.random.default_rng(self._seed)
        layers = [_layer_sums(layer, self._samples, generator) for layer in self._layers]
        return np.asarray(np.sum(layers, axis=0))

    def estimate(self, ratio: Callable[[Array], Array]) -> Estimate:
        """Return a ratio with its interval.

        Args:
            ratio: Function of the sums of `_products`, [2 + A, 2 + S, any] → [any].
        """
        values = ratio(self._sums)
        low, high = np.quantile(values[1:], (TAIL, 1 - TAIL))
        value = float(values[0])
        # the value lies within its interval even if the resamples are skewed
        return Estimate(value, min(value, float(low)), max(value, float(high)))


def _layer_sums(layer: CoordinateSample, samples: int, generator: np.random.Generator) -> Array:
    """Return one layer's sums, then those of each resample, [2 + A, 2 + S, 1 + RESAMPLES]."""
    products = np.concatenate([_products(one, samples) for one in layer.blocks], axis=2)
    sampled = products.shape[2]
    value = products.sum(2)[:, :, None] * layer.weight
    if sampled == layer.size:
        # nothing was drawn, so that every resample is the value itself
        return np.tile(value, 1 + RESAMPLES)
    counts = generator.multinomial(sampled, np.full(sampled, 1 / sampled), size=RESAMPLES)
    resampled = products @ counts.T * layer.weight
    # finite population correction: the coordinates were drawn without repeats
    resampled = value + np.sqrt(1 - sampled / layer.size) * (resampled - value)
    return np.concatenate([value, resampled], axis=2)


def _products(one: Averages, samples: int) -> Array:
    """Return the products behind every ratio, for each coordinate, [2 + A, 2 + S, K].

    For each average r (μ, the winsorized means, the median): r², rμ, and for each set of samples Σ_{i in set}
    g_i r / N. The median is not a sum over samples, and has zeros there.
    """
    kinds = (one.mean, *one.winsorized, one.median)
    # zeros keep the array rectangular: no share of the median is ever asked for
    parts = (*one.parts, np.zeros_like(one.parts[0]))
    return np.array(
        [
            [r * r, r * one.mean, *(part * r / samples for part in own)]
            for r, own in zip(kinds, parts, strict=True)
        ]
    )


def norm_ratio(which: int) -> Callable[[Array], Array]:
    """Return the function for ‖r‖ / ‖μ‖ of an average, by its number; 0 is μ itself."""
    # all gradients can be zero: a ratio of 0 rather than NaN
    return lambda sums: np.sqrt(sums[which, 0] / np.maximum(sums[0, 0], SMALLEST_FLOAT64))


def cosine(which: int) -> Callable[[Array], Array]:
    """Return the function for ⟨r, μ⟩ / ‖r‖‖μ‖ of an average, by its number; 0 if r is 0."""
    return lambda sums: sums[which, 1] / np.sqrt(np.maximum(sums[which, 0] * sums[0, 0], SMALLEST_FLOAT64))


def share_of_step(which: int, members: int) -> Callable[[Array], Array]:
    """Return the function for a set's share of an average, Σ_{i in set} ⟨g_i, r⟩ / Σ_i ⟨g_i, r⟩.

    The g_i are as they enter r, so that the denominator is N‖r‖². These are the shares of pristine and
    corrupt labels in arXiv 2203.10036; below 0 if the set's samples pull against the update.

    Args:
        which: Number of the average; 0 is μ.
        members: Number of the set.
    """
    return lambda sums: sums[which, 2 + members] / np.maximum(sums[which, 0], SMALLEST_FLOAT64)


def clipped_shares(layers: Sequence[CoordinateSample]) -> Array:
    """Return the share of each sample's energy in coordinates where it was clipped, for each clip, [A, N]."""
    outside = sum(layer.weight * one.clipped for layer in layers for one in layer.blocks)
    energy = sum(layer.weight * one.energy for layer in layers for one in layer.blocks)
    shares: Array = np.asarray(outside) / np.maximum(energy, SMALLEST_FLOAT64)
    return shares
